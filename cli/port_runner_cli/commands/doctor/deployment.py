"""The deployed function with everything around it. Each part is read once, when a check needs it first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, overload
from urllib.parse import quote

from port_runner import Runner
from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.clients.function import Function, Json, read_function, read_mappings
from port_runner_cli.clients.kafka import KafkaMapping, open_consumer
from port_runner_cli.clients.port import DEFAULT_URL, PortAccess, PortConnection
from port_runner_cli.commands.doctor.finding import Finding, is_denied
from port_runner_cli.commands.doctor.role_policy import Policies
from port_runner_cli.output import CommandFailed, NotCheckable, SettingsError
from port_runner_cli.project import load_runner
from port_runner_cli.sample_message import sample_message

type Check = Callable[[Deployment], Finding]


class PartMissing(CommandFailed):
    """A part of the deployment cannot be read. `error` is the reason."""

    def __init__(self, name: str, what: str, error: CommandFailed) -> None:
        super().__init__(what)
        self.name = name
        self.error = error


class Part[T]:
    """A part of the deployment as a property. It is read once. If that failed, each access raises PartMissing."""

    def __init__(self, what: str, read: Callable[["Deployment"], T]) -> None:
        self._what = what
        self._read = read
        self.__doc__ = read.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, deployment: None, owner: type) -> Self: ...

    @overload
    def __get__(self, deployment: "Deployment", owner: type) -> T: ...

    def __get__(self, deployment: "Deployment | None", owner: type) -> Self | T:
        if deployment is None:
            return self
        if self._name not in deployment.parts:
            deployment.parts[self._name] = self._outcome(deployment)
        outcome = deployment.parts[self._name]
        if isinstance(outcome, PartMissing):
            raise outcome
        result: T = outcome
        return result

    def _outcome(self, deployment: "Deployment") -> T | PartMissing:
        try:
            return self._read(deployment)
        except PartMissing as missing:  # a part that this part is read from
            return missing
        except CommandFailed as error:
            return PartMissing(self._name, self._what, error)


def part[T](what: str) -> Callable[[Callable[["Deployment"], T]], Part[T]]:
    return lambda read: Part(what, read)


@dataclass(frozen=True)
class PortSeen:
    """A connection to Port. `with_own` says that it uses the function's credentials, and not those of the user."""

    connection: PortConnection
    with_own: bool


@dataclass(frozen=True)
class Role:
    """The function's execution role: who may assume it, and what it may do."""

    name: str
    trust: Json
    policies: Policies


@dataclass
class Deployment:
    """A deployed function with everything around it.

    `access` is used if the function's own credentials cannot be read. `actions` are the identifiers to check, by
    default those of the handlers here. `recorded` has messages by their names. `topic` selects one of several mappings.
    """

    function_name: str
    access: PortAccess
    actions: Sequence[str] = ()
    recorded: Mapping[str, Any] = field(default_factory=dict)
    topic: str | None = None
    parts: dict[str, Any] = field(default_factory=dict, repr=False)

    def problem_with(self, name: str) -> CommandFailed | None:
        """Return why a part cannot be read, or None. Raises PartMissing if a part that it needs cannot be read."""
        try:
            getattr(self, name)
        except PartMissing as missing:
            if missing.name != name:
                raise
            return missing.error
        return None

    @part("the function cannot be read")
    def function(self) -> Function:
        return read_function(self.function_name)

    @part("the mappings cannot be read")
    def mappings(self) -> list[KafkaMapping]:
        return read_mappings(self.function)

    @part("the mapping is not known")
    def mapping(self) -> KafkaMapping:
        """The mapping of the runs, or of the given topic."""
        wanted = [
            each
            for each in self.mappings
            if each.topic == self.topic or (self.topic is None and not each.topic.endswith(".change.log"))
        ]
        if not wanted:
            topics = ", ".join(each.topic for each in self.mappings) or "none"
            raise CommandFailed(
                f"{self.function.name} has no event source mapping for {self.topic or 'runs'}; those that it has are "
                f"for: {topics}. Without one, nothing is delivered: `terraform apply` makes it."
            )
        return wanted[0]

    # Port

    @part("Port cannot be asked")
    def port(self) -> PortSeen:
        own = self._own_access()
        if own is not None:
            access, environment = own
            try:
                return PortSeen(access.connect(environment), with_own=True)
            except CommandFailed as error:
                if not is_denied(error):
                    raise
        try:
            return PortSeen(self.access.connect(), with_own=False)
        except SettingsError as error:
            raise NotCheckable(f"The function's credentials cannot be read from here. {error.message}") from error

    def _own_access(self) -> tuple[PortAccess, Mapping[str, str]] | None:
        """The function's address of Port, and its environment; None if the function is not known."""
        try:
            environment = self.function.environment
        except PartMissing:
            return None
        arn = environment.get("PORT_CREDENTIALS_SECRET_ARN")
        return PortAccess(environment.get("PORT_API_URL", DEFAULT_URL), None, arn), environment

    @part("the organization is not known")
    def organization_id(self) -> str:
        answer = self.port.connection.call("GET", "/organization", what="to show the organization")
        identifier = answer.get("organization", {}).get("id")
        if not isinstance(identifier, str):
            raise NotCheckable("Port does not say which organization this is.")
        return identifier

    @part("the handlers cannot be imported")
    def runner(self) -> Runner:
        return load_runner()

    @part("the actions are not known")
    def action_names(self) -> list[str]:
        return list(self.actions or dict.fromkeys(route.identifier for route in self.runner.routes))

    @part("Port cannot be asked for the actions")
    def defined_actions(self) -> dict[str, Json]:
        """Those of the actions that exist in Port."""
        found = {}
        for name in self.action_names:
            answer = self.port.connection.find(f"/actions/{quote(name, safe='')}", what=f"to show the action {name}")
            if answer is not None and isinstance(answer.get("action"), dict):
                found[name] = answer["action"]
        return found

    def sample(self, action: Json) -> Any:
        """Return the message of a run of the action. Raises NotCheckable and PartMissing."""
        return sample_message(action, self.organization_id)

    # Kafka

    @part("the Kafka user is not known")
    def user(self) -> Json:
        return self.mapping.user()

    @part("the private authority is not known")
    def authority(self) -> str | None:
        return self.mapping.authority()

    @part("Kafka cannot be asked")
    def topics(self) -> dict[str, int]:
        """The topics that the user sees, each with its number of partitions."""
        _ = self.user, self.authority  # without these, no connection is possible
        with open_consumer(self.mapping) as consumer:
            found = consumer.list_topics(timeout=10).topics
        return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}

    # The function's role

    @part("the role cannot be read")
    def role(self) -> Role:
        arn = str(self.function.configuration["Role"])
        name = arn.rpartition("/")[2]
        client = aws_client("iam")
        with asking_aws(f"The role {name} cannot be read"):
            role = client.get_role(RoleName=name)["Role"]
            granted = [
                client.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                for page in client.get_paginator("list_role_policies").paginate(RoleName=name)
                for policy in page["PolicyNames"]
            ]
            granted += [
                _managed_policy(client, policy["PolicyArn"])
                for page in client.get_paginator("list_attached_role_policies").paginate(RoleName=name)
                for policy in page["AttachedPolicies"]
            ]
            boundary_arn = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
            boundary = None if boundary_arn is None else _managed_policy(client, boundary_arn)
        return Role(name, role["AssumeRolePolicyDocument"], Policies(granted, boundary))


def _managed_policy(client: Any, arn: str) -> Json:
    version = client.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document: Json = client.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    return document
