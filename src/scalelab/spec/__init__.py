"""What a user may say: the classes of a spec, and how a YAML file becomes them."""
