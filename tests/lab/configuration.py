"""The configuration files of the lab's services. Each line that is not obvious has its reason beside it."""

import getpass
from collections.abc import Mapping

from tests.lab import ini
from tests.lab.ini import Sections
from tests.lab.model import HOST, PASSWORD, REGION, Lab

RINGS = ("account", "container", "object")
# The proxy's filters, outermost first. tempurl stands before authtoken: its requests carry no token.
SWIFT_FILTERS = "catch_errors gatekeeper healthcheck tempurl authtoken keystoneauth copy versioned_writes"
FAST_DATABASE = {"sqlite_synchronous": False}  # a power cut may have a lab's data


def write(lab: Lab) -> None:
    """Write every file; the same lab always gives the same files."""
    for directory in (lab.etc, lab.run, lab.log, lab.data / "swift" / "d1"):
        directory.mkdir(parents=True, exist_ok=True)
    ini.write(lab.etc / "keystone.conf", keystone(lab))
    ini.write(lab.etc / "heat.conf", heat(lab))
    ini.write(lab.etc / "zaqar.conf", zaqar(lab))
    ini.write(lab.etc / "push.conf", push(lab))
    ini.write(lab.etc / "swift" / "swift.conf", {"swift-hash": {"swift_hash_path_suffix": "lab"}})
    ini.write(lab.etc / "swift" / "proxy.conf", swift_proxy(lab))
    for kind in RINGS:
        ini.write(lab.etc / "swift" / f"{kind}.conf", swift_storage(lab, kind))


def signs_in_as(lab: Lab, user: str) -> Mapping[str, object]:
    """With what a service signs in to Keystone itself."""
    return {
        "auth_type": "password",
        "auth_url": lab.url("keystone"),
        "username": user,
        "password": PASSWORD,
        "user_domain_name": "Default",
        "project_name": "service",
        "project_domain_name": "Default",
        "region_name": REGION,
    }


def unscoped(lab: Lab, user: str) -> Mapping[str, object]:
    """The same without a project: a trust brings its own."""
    scope = ("project_name", "project_domain_name", "region_name")
    return {key: value for key, value in signs_in_as(lab, user).items() if key not in scope}


def checks_tokens_as(lab: Lab, user: str) -> Mapping[str, object]:
    return {
        **signs_in_as(lab, user),
        "www_authenticate_uri": lab.url("keystone"),
        "service_token_roles_required": True,
    }


def keystone(lab: Lab) -> Sections:
    return {
        "database": {"connection": lab.database("keystone"), **FAST_DATABASE},
        "token": {"provider": "fernet", "expiration": 14400},
        "fernet_tokens": {"key_repository": lab.data / "fernet"},
        "credential": {"key_repository": lab.data / "credential", "auth_ttl": lab.settings.auth_ttl_min},
        "identity": {"password_hash_rounds": lab.settings.bcrypt_rounds},
    }


def heat(lab: Lab) -> Sections:
    return {
        "DEFAULT": {
            # In memory: engine and both APIs are one process, so there is no broker to run.
            "transport_url": "fake://",
            "heat_metadata_server_url": lab.url("cfn"),
            "heat_waitcondition_server_url": lab.url("cfn") + "/v1/waitcondition",
            "stack_user_domain_name": "heat",
            "stack_domain_admin": "heat_domain_admin",
            "stack_domain_admin_password": PASSWORD,
            "heat_stack_user_role": "heat_stack_user",
            "region_name_for_services": REGION,
            "server_keystone_endpoint_type": "public",
            "max_nova_api_microversion": "2.1",  # the stand-in for Nova knows no other
            "auth_encryption_key": "0123456789abcdef0123456789abcdef",
            "environment_dir": lab.venv / "etc/heat/environment.d",
            "template_dir": lab.venv / "etc/heat/templates",
            "plugin_dirs": lab.etc / "heat-plugins",
        },
        "database": {"connection": lab.database("heat"), **FAST_DATABASE},
        "paste_deploy": {"api_paste_config": lab.venv / "etc/heat/api-paste.ini"},
        "keystone_authtoken": checks_tokens_as(lab, "heat"),
        "trustee": unscoped(lab, "heat"),
        # /v3/ec2tokens wants a service token nowadays, so this section must be able to sign in.
        "ec2authtoken": signs_in_as(lab, "heat"),
        "clients_keystone": {"auth_uri": lab.url("keystone")},
        "clients": {"endpoint_type": "publicURL"},
        "oslo_messaging_notifications": {"driver": "noop"},
        # heat-api-cfn asks for a decision without naming a project. The new default rules compare
        # projects, so with them every signed DescribeStackResource ends in a 403.
        "oslo_policy": {"enforce_new_defaults": lab.settings.enforce_new_defaults},
    }


def zaqar(lab: Lab) -> Sections:
    return {
        "DEFAULT": {"auth_strategy": "keystone"},
        "drivers": {"transport": "wsgi", "management_store": "sqlalchemy", "message_store": "redis"},
        "drivers:management_store:sqlalchemy": {"uri": lab.database("zaqar")},
        "drivers:message_store:redis": {"uri": f"redis://{HOST}:{lab.port('redis')}?socket_timeout=5"},
        "drivers:transport:wsgi": {"bind": HOST, "port": lab.port("zaqar")},
        "database": {"connection": lab.database("zaqar"), **FAST_DATABASE},
        # Empty by default: one may subscribe then, and is told of nothing.
        "storage": {"message_pipeline": "zaqar.notification.notifier" if lab.settings.push else ""},
        "signed_url": {"secret_key": PASSWORD},
        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
        "keystone_authtoken": checks_tokens_as(lab, "zaqar"),
        "trustee": unscoped(lab, "zaqar"),
    }


def push(lab: Lab) -> Sections:
    """Zaqar once more, with the other transport; the first one tells it of messages at its notification port."""
    return {
        **zaqar(lab),
        "drivers": {"transport": "websocket", "management_store": "sqlalchemy", "message_store": "redis"},
        "drivers:transport:websocket": {
            "bind": HOST,
            "port": lab.port("websocket"),
            "external_port": lab.port("websocket"),
            "notification_bind": HOST,
            "notification_port": lab.port("notification"),
        },
    }


def swift_common(lab: Lab, listener: str) -> Mapping[str, object]:
    return {
        "bind_ip": HOST,
        "bind_port": lab.port(listener),
        "user": getpass.getuser(),
        "workers": 0,
        "swift_dir": lab.etc / "swift",
        "devices": lab.data / "swift",
        "mount_check": False,
        "log_level": "WARNING",
    }


def swift_storage(lab: Lab, kind: str) -> Sections:
    return {
        "DEFAULT": swift_common(lab, kind),
        "pipeline:main": {"pipeline": f"{kind}-server"},
        f"app:{kind}-server": {"use": f"egg:swift#{kind}"},
    }


def swift_proxy(lab: Lab) -> Sections:
    plain = ("catch_errors", "gatekeeper", "healthcheck", "copy")
    return {
        "DEFAULT": swift_common(lab, "swift"),
        "pipeline:main": {"pipeline": f"{SWIFT_FILTERS} proxy-server"},
        "app:proxy-server": {
            "use": "egg:swift#proxy",
            "account_autocreate": True,
            "allow_account_management": True,
        },
        **{f"filter:{name}": {"use": f"egg:swift#{name}"} for name in plain},
        "filter:tempurl": {"use": "egg:swift#tempurl", "methods": "GET HEAD PUT POST DELETE"},
        "filter:authtoken": {
            "paste.filter_factory": "keystonemiddleware.auth_token:filter_factory",
            **checks_tokens_as(lab, "swift"),
            "delay_auth_decision": True,  # a temporary URL has no token to judge
            "include_service_catalog": False,
        },
        "filter:keystoneauth": {"use": "egg:swift#keystoneauth", "operator_roles": "admin, member"},
        "filter:versioned_writes": {"use": "egg:swift#versioned_writes", "allow_versioned_writes": True},
    }
