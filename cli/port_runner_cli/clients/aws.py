"""boto3 for commands, with a sentence for each failure."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from port_runner_cli.output import CommandFailed, SettingsError

ADVICE = {
    "AccessDenied": "Your AWS credentials lack this permission.",
    "AccessDeniedException": "Your AWS credentials lack this permission.",
    "ExpiredToken": "Log in to AWS again: your session has ended.",
    "ExpiredTokenException": "Log in to AWS again: your session has ended.",
    "InvalidClientTokenId": "AWS does not know these credentials. Check AWS_PROFILE or AWS_ACCESS_KEY_ID.",
    "UnrecognizedClientException": "AWS does not know these credentials. Check AWS_PROFILE or AWS_ACCESS_KEY_ID.",
    "ResourceNotFoundException": "It does not exist in this account and region. Check AWS_PROFILE and AWS_REGION.",
}


class AwsRefused(CommandFailed):
    """AWS refused a request. `code` is AWS's own, such as AccessDeniedException."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def aws_client(service: str, arn: str = "", *, seconds: float = 30, attempts: int = 3) -> Any:
    """Return a boto3 client in the region of the ARN `arn`, or by boto3's own settings. Raises SettingsError.

    A call is tried `attempts` times, and each try waits `seconds` for its answer.
    """
    import boto3  # slow to import, and most commands do not need it
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    region = arn.split(":")[3] if arn.startswith("arn:") and arn.count(":") >= 5 else None
    config = Config(connect_timeout=5, read_timeout=seconds, retries={"total_max_attempts": attempts})
    try:
        # Of AWS's tools, only boto3 does not read AWS_REGION.
        return boto3.client(service, region_name=region or os.environ.get("AWS_REGION") or None, config=config)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"AWS cannot be used: {error} Set AWS_REGION, and AWS_PROFILE if need be.") from error


@contextmanager
def asking_aws(what: str) -> Iterator[None]:
    """Turn AWS's refusals in the block into a CommandFailed.

    Its text begins with `what`: "The secret x cannot be read".
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code, message = (str(error.response.get("Error", {}).get(key, "")) for key in ("Code", "Message"))
        advice = ADVICE.get(code, f"AWS says: {message}")
        raise AwsRefused(f"{what} ({code}). {advice}", code) from error
    except BotoCoreError as error:
        raise CommandFailed(f"{what}: {error}. Check the network, AWS_PROFILE and AWS_REGION.") from error
