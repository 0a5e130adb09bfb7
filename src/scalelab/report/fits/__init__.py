"""What figures of fits share."""
