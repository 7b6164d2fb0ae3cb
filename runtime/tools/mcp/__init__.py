"""MCP servers as a tool: what they offer becomes recipes, and every call passes the gate."""
