"""What a guest's owner lets run: a policy file, and signatures over software configs."""
