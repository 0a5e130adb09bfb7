"""What the tests of several tasks share: evaluation mode, and the routes of tokens."""
