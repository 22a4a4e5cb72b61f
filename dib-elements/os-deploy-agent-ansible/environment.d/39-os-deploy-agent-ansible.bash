export DIB_INSTALLTYPE_os_deploy_agent_ansible=${DIB_INSTALLTYPE_os_deploy_agent_ansible:-package}
export DIB_OS_DEPLOY_AGENT_ANSIBLE_WHEELS=${DIB_OS_DEPLOY_AGENT_ANSIBLE_WHEELS:-}
export DIB_OS_DEPLOY_AGENT_ANSIBLE_VENV=${DIB_OS_DEPLOY_AGENT_ANSIBLE_VENV:-/opt/os-deploy-agent-ansible}
