"""What charts of several figures share."""
