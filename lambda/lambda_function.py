"""The function's entry point: which handlers there are."""

from handlers import storage, vm
from port_runner import Runner

runner = Runner()
runner.include(vm.router)
runner.include(storage.router)

lambda_handler = runner.lambda_handler
