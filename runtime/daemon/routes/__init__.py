"""The routes, a file for each part of the API: thin, typed, nothing but what the desk can do."""
