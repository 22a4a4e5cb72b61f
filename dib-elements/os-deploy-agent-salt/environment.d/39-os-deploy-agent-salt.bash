export DIB_INSTALLTYPE_os_deploy_agent_salt=${DIB_INSTALLTYPE_os_deploy_agent_salt:-wheel}
export DIB_OS_DEPLOY_AGENT_SALT_WHEELS=${DIB_OS_DEPLOY_AGENT_SALT_WHEELS:-}
export DIB_OS_DEPLOY_AGENT_SALT_VENV=${DIB_OS_DEPLOY_AGENT_SALT_VENV:-/opt/os-deploy-agent-salt}
