"""os-deploy-agent: runs a guest's SoftwareDeployments and tells the endpoint the truth about each."""

__version__ = "0.1.0"
