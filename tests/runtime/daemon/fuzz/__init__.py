"""What schemathesis is given, besides the schema."""
