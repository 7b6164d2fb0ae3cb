"""Aidecamp as an MCP server: its tools for any MCP client, behind the daemon's guard and gate."""
