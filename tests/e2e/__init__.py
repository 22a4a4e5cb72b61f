"""A real Heat drives a real agent: create, update, delete, and what goes wrong between."""
