"""The function's entry point, with all handlers."""

from handlers import storage, vm
from port_runner import Runner

runner = Runner()
runner.include(vm.router)
runner.include(storage.router)

lambda_handler = runner.lambda_handler
