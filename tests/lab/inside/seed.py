# mypy: disable-error-code="import-not-found"
"""Users, roles, the domain of stack users and the service catalog."""

from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from keystoneclient.v3.client import Client

from tests.lab.inside import this_lab
from tests.lab.model import ADMIN, DEMO, HOST, PASSWORD, REGION, Lab

ROLES = ("admin", "member", "service", "heat_stack_owner", "heat_stack_user")


def sign_in(lab: Lab) -> Client:
    password = v3.Password(
        auth_url=lab.auth_url,
        username=ADMIN.user,
        password=ADMIN.password,
        project_name=ADMIN.project,
        user_domain_id="default",
        project_domain_id="default",
    )
    return Client(session=Session(auth=password), region_name=REGION)


def catalog(lab: Lab) -> dict[tuple[str, str], str]:
    services = {
        ("heat", "orchestration"): lab.url("heat") + "/v1/%(tenant_id)s",
        ("heat-cfn", "cloudformation"): lab.url("cfn") + "/v1",
        ("swift", "object-store"): lab.url("swift") + "/v1/AUTH_%(tenant_id)s",
        ("zaqar", "messaging"): lab.url("zaqar"),
        ("nova", "compute"): lab.url("nova") + "/v2.1",
    }
    pushing = {("zaqar-push", "messaging-websocket"): f"ws://{HOST}:{lab.port('websocket')}"}
    return {**services, **(pushing if lab.settings.push else {})}


def main(lab: Lab) -> None:
    keystone = sign_in(lab)
    there = {role.name: role for role in keystone.roles.list()}
    roles = {name: there.get(name) or keystone.roles.create(name) for name in ROLES}

    services = keystone.projects.create("service", domain="default")
    demo = keystone.projects.create(DEMO.project, domain="default")
    users = dict.fromkeys(("heat", "swift", "zaqar"), (services, ("admin", "service")))
    users[DEMO.user] = (demo, ("member", "heat_stack_owner"))
    for name, (project, granted) in users.items():
        user = keystone.users.create(name, domain="default", password=PASSWORD)
        for role in granted:
            keystone.roles.grant(roles[role], user=user, project=project)

    # Heat makes a project per stack in this domain, signed in as an administrator of it alone.
    domain = keystone.domains.create("heat")
    user = keystone.users.create("heat_domain_admin", domain=domain, password=PASSWORD)
    keystone.roles.grant(roles["admin"], user=user, domain=domain)

    for (name, kind), address in catalog(lab).items():
        service = keystone.services.create(name, type=kind)
        keystone.endpoints.create(service, address, interface="public", region=REGION)


if __name__ == "__main__":
    main(this_lab())
