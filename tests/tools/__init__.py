"""Hooks with their real tools: ansible, puppet and salt as they are installed, chef as it was seen to answer."""
