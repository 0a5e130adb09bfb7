"""Running a plan: searches, executors, and the driver that brings them and the store together."""
