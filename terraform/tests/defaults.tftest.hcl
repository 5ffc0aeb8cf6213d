# Planned with the real provider, offline: nothing is created and no credentials are needed.
provider "aws" {
  region                      = "eu-west-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

variables {
  port_org_id       = "org_sYG4DOJZNGy8bYnt"
  kafka_credentials = { username = "kafka-user", password = "kafka-password" }
  port_credentials  = { client_id = "port-id", client_secret = "port-secret" }

  # A plan reads only the bytes of the packages, so any file works.
  function_package = "main.tf"
  layer_package    = "variables.tf"
}

run "defaults" {
  command = plan

  assert {
    condition = alltrue([
      aws_lambda_function.this.function_name == "port-execution-lambda",
      aws_lambda_layer_version.dependencies.layer_name == "port-execution-lambda-dependencies",
      aws_cloudwatch_log_group.lambda.name == "/aws/lambda/port-execution-lambda",
      one(aws_iam_role.lambda).name == "port-execution-lambda",
      one(aws_sqs_queue.failures).name == "port-execution-lambda-failures",
      one(aws_secretsmanager_secret.kafka_credentials).name == "port-execution-lambda/kafka-credentials",
      one(aws_secretsmanager_secret.port_credentials).name == "port-execution-lambda/port-credentials",
    ])
    error_message = "Every name follows from the default name."
  }

  assert {
    condition = alltrue([
      aws_lambda_function.this.handler == "lambda_function.lambda_handler",
      aws_lambda_function.this.runtime == "python3.13",
      aws_lambda_function.this.architectures == tolist(["x86_64"]),
      aws_lambda_function.this.timeout == 60,
      aws_lambda_function.this.memory_size == 256,
      aws_lambda_function.this.reserved_concurrent_executions == -1,
      length(aws_lambda_function.this.vpc_config) == 0,
      one(aws_lambda_function.this.logging_config).log_format == "Text",
      one(aws_lambda_function.this.logging_config).log_group == "/aws/lambda/port-execution-lambda",
    ])
    error_message = "The function runs Python 3.13 on x86_64 for a minute with 256 MB, and its log lines go unchanged to its log group."
  }

  assert {
    condition = alltrue([
      aws_lambda_function.this.filename == "main.tf",
      aws_lambda_function.this.source_code_hash == filebase64sha256("main.tf"),
      aws_lambda_layer_version.dependencies.filename == "variables.tf",
      aws_lambda_layer_version.dependencies.source_code_hash == filebase64sha256("variables.tf"),
      aws_lambda_layer_version.dependencies.compatible_runtimes == toset(["python3.13"]),
      aws_lambda_layer_version.dependencies.compatible_architectures == toset(["x86_64"]),
    ])
    error_message = "Function and layer are the given files, with their hashes."
  }

  assert {
    condition = alltrue([
      aws_cloudwatch_log_group.lambda.retention_in_days == 30,
      one(aws_sqs_queue.failures).sqs_managed_sse_enabled == true,
      one(aws_sqs_queue.failures).message_retention_seconds == 1209600,
      one(aws_secretsmanager_secret.kafka_credentials).recovery_window_in_days == 0,
      one(aws_secretsmanager_secret_version.kafka_credentials).secret_string_wo_version == 1,
      one(aws_secretsmanager_secret_version.port_credentials).secret_string_wo_version == 1,
    ])
    error_message = "Logs are kept for thirty days, failures encrypted for fourteen; secrets are version 1."
  }

  assert {
    condition = alltrue([
      one(aws_secretsmanager_secret_version.kafka_credentials).secret_string == null,
      one(aws_secretsmanager_secret_version.port_credentials).secret_string == null,
    ])
    error_message = "Secret values are write-only and never stored."
  }

  assert {
    condition     = keys(aws_lambda_event_source_mapping.kafka) == ["runs"]
    error_message = "There is one mapping, for the runs."
  }

  assert {
    condition = alltrue([
      aws_lambda_event_source_mapping.kafka["runs"].topics == toset(["org_sYG4DOJZNGy8bYnt.runs"]),
      one(aws_lambda_event_source_mapping.kafka["runs"].self_managed_kafka_event_source_config).consumer_group_id == "org_sYG4DOJZNGy8bYnt.port-execution-lambda",
      aws_lambda_event_source_mapping.kafka["runs"].starting_position == "LATEST",
      aws_lambda_event_source_mapping.kafka["runs"].batch_size == 1,
      aws_lambda_event_source_mapping.kafka["runs"].enabled == true,
      [for access in aws_lambda_event_source_mapping.kafka["runs"].source_access_configuration : access.type] == ["SASL_SCRAM_512_AUTH"],
    ])
    error_message = "The mapping reads the organization's runs with SCRAM-SHA-512, one record at a time, from LATEST, in the runner's own group."
  }

  assert {
    condition = one(aws_lambda_event_source_mapping.kafka["runs"].self_managed_event_source).endpoints == tomap({
      KAFKA_BOOTSTRAP_SERVERS = "b-1-public.publicclusterprod.t9rw6w.c1.kafka.eu-west-1.amazonaws.com:9196,b-2-public.publicclusterprod.t9rw6w.c1.kafka.eu-west-1.amazonaws.com:9196,b-3-public.publicclusterprod.t9rw6w.c1.kafka.eu-west-1.amazonaws.com:9196"
    })
    error_message = "The brokers are those of Port's EU region."
  }

  assert {
    condition = alltrue([
      length(aws_lambda_event_source_mapping.kafka["runs"].filter_criteria) == 0,
      length(aws_lambda_event_source_mapping.kafka["runs"].provisioned_poller_config) == 0,
      length(aws_lambda_event_source_mapping.kafka["runs"].destination_config) == 0,
      aws_lambda_event_source_mapping.kafka["runs"].function_response_types == null,
      aws_lambda_event_source_mapping.kafka["runs"].maximum_batching_window_in_seconds == null,
    ])
    error_message = "The mapping filters nothing, gives up nothing, and costs nothing while idle."
  }

  assert {
    condition = alltrue([
      length(aws_cloudwatch_metric_alarm.this) == 0,
      length(aws_cloudwatch_metric_alarm.no_run_ended) == 0,
      length(aws_cloudwatch_dashboard.this) == 0,
      length(aws_secretsmanager_secret.kafka_ca_certificate) == 0,
    ])
    error_message = "Alarms, dashboard and the secret of a private authority are not created by default."
  }

  assert {
    condition = alltrue([
      output.kafka_topic == "org_sYG4DOJZNGy8bYnt.runs",
      output.kafka_consumer_group_id == "org_sYG4DOJZNGy8bYnt.port-execution-lambda",
      output.lambda_function_name == "port-execution-lambda",
      output.change_log_event_source_mapping_uuid == null,
      output.kafka_ca_certificate_secret_arn == null,
      output.dashboard_name == null,
      output.alarm_arns == {},
    ])
    error_message = "Outputs describe the existing resources, and are null for the others."
  }
}

run "layer_package_that_is_missing" {
  command = plan

  variables {
    layer_package = "no-such-layer.zip"
  }

  expect_failures = [aws_lambda_layer_version.dependencies]
}

run "function_package_that_is_missing" {
  command = plan

  variables {
    function_package = "no-such-function.zip"
  }

  expect_failures = [aws_lambda_function.this]
}
