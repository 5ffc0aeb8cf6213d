# Every switch in the state that is not its default.
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
  function_package  = "main.tf"
  layer_package     = "main.tf"
}

# The ARNs that AWS would return. With them, a plan shows the values that depend on ARNs.
override_resource {
  target          = aws_cloudwatch_log_group.lambda
  override_during = plan
  values          = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/port-execution-lambda" }
}

override_resource {
  target          = aws_secretsmanager_secret.kafka_credentials
  override_during = plan
  values          = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/kafka-credentials-aaaaaa" }
}

override_resource {
  target          = aws_secretsmanager_secret.port_credentials
  override_during = plan
  values          = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/port-credentials-bbbbbb" }
}

override_resource {
  target          = aws_secretsmanager_secret.kafka_ca_certificate
  override_during = plan
  values          = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/kafka-ca-certificate-cccccc" }
}

override_resource {
  target          = aws_sqs_queue.failures
  override_during = plan
  values = {
    arn = "arn:aws:sqs:eu-west-1:123456789012:port-execution-lambda-failures"
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/port-execution-lambda-failures"
  }
}

override_resource {
  target          = aws_iam_role.lambda
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/port-execution-lambda" }
}

run "polling" {
  command = plan

  variables {
    port_region                            = "us"
    kafka_topic                            = "org_sYG4DOJZNGy8bYnt.runs.copy"
    kafka_consumer_group_id                = "org_sYG4DOJZNGy8bYnt.mine"
    kafka_sasl_mechanism                   = "SASL_SCRAM_256_AUTH"
    create_change_log_event_source_mapping = true
    event_source_mapping_enabled           = false
    starting_position                      = "TRIM_HORIZON"
    batch_size                             = 10
    maximum_batching_window_in_seconds     = 5
    filter_actions                         = ["create_vm", "delete_vm"]
    provisioned_pollers                    = { minimum = 1, maximum = 3 }
    maximum_retry_attempts                 = 5
    bisect_batch_on_function_error         = true
    create_dashboard                       = true
  }

  assert {
    condition     = local.port_api_url == "https://api.us.port.io" && local.kafka_bootstrap_servers == tolist([for n in [1, 2, 3] : "b-${n}-public.production.5v06xt.c21.kafka.us-east-1.amazonaws.com:9196"])
    error_message = "The US region has its own API and brokers."
  }

  assert {
    condition = { for key, mapping in aws_lambda_event_source_mapping.kafka : key => [one(mapping.topics), one(mapping.self_managed_kafka_event_source_config).consumer_group_id] } == {
      runs       = ["org_sYG4DOJZNGy8bYnt.runs.copy", "org_sYG4DOJZNGy8bYnt.mine"]
      change_log = ["org_sYG4DOJZNGy8bYnt.change.log", "org_sYG4DOJZNGy8bYnt.mine.change-log"]
    }
    error_message = "Runs and change log have two mappings with separate consumer groups."
  }

  assert {
    condition = alltrue([for mapping in aws_lambda_event_source_mapping.kafka : alltrue([
      mapping.enabled == false,
      mapping.starting_position == "TRIM_HORIZON",
      mapping.batch_size == 10,
      mapping.maximum_batching_window_in_seconds == 5,
      one(mapping.source_access_configuration).type == "SASL_SCRAM_256_AUTH",
      one(mapping.provisioned_poller_config).minimum_pollers == 1,
      one(mapping.provisioned_poller_config).maximum_pollers == 3,
      mapping.maximum_retry_attempts == 5,
      mapping.maximum_record_age_in_seconds == -1,
      mapping.bisect_batch_on_function_error == true,
      mapping.function_response_types == toset(["ReportBatchItemFailures"]),
      one(one(mapping.destination_config).on_failure).destination_arn == "arn:aws:sqs:eu-west-1:123456789012:port-execution-lambda-failures",
    ])])
    error_message = "Both mappings poll as the variables say, and send what they give up to the destination."
  }

  assert {
    condition     = aws_lambda_function.this.environment[0].variables.REPORT_BATCH_ITEM_FAILURES == "true"
    error_message = "The function knows that the mapping reads its response."
  }

  assert {
    condition = [for widget in jsondecode(one(aws_cloudwatch_dashboard.this).dashboard_body).widgets : [widget.properties.title, widget.properties.region, widget.x, widget.y]] == [
      ["Runs", "eu-west-1", 0, 0],
      ["Invocations", "eu-west-1", 8, 0],
      ["Longest times in milliseconds, of 60000", "eu-west-1", 16, 0],
      ["Records that wait in Kafka", "eu-west-1", 0, 6],
      ["Failure queue", "eu-west-1", 8, 6],
      ["Warnings and errors", "eu-west-1", 0, 12],
    ]
    error_message = "The dashboard shows runs, function, waiting records, failures and the log, side by side."
  }

  assert {
    condition = toset([for filter in one(aws_lambda_event_source_mapping.kafka["runs"].filter_criteria).filter : filter.pattern]) == toset([
      "{\"value\":{\"action\":[\"create_vm\",\"delete_vm\"]}}",
      "{\"value\":{\"payload\":{\"action\":{\"identifier\":[\"create_vm\",\"delete_vm\"]}}}}",
    ])
    error_message = "The filter passes the actions in both of Port's message formats."
  }

  assert {
    condition     = length(aws_lambda_event_source_mapping.kafka["change_log"].filter_criteria) == 0
    error_message = "The change log is not filtered by actions."
  }
}

run "change_log_of_the_kafka_user" {
  command = plan

  variables {
    kafka_consumer_group_id                = "kafka-user"
    create_change_log_event_source_mapping = true
  }

  assert {
    condition = { for key, mapping in aws_lambda_event_source_mapping.kafka : key => one(mapping.self_managed_kafka_event_source_config).consumer_group_id } == {
      runs       = "kafka-user"
      change_log = "org_sYG4DOJZNGy8bYnt.port-execution-lambda.change-log"
    }
    error_message = "Port allows a user the group with its own name and the organization's groups, but no group that only begins with its name."
  }
}

run "pollers_without_partial_answers" {
  command = plan

  variables {
    provisioned_pollers           = { minimum = 1, maximum = 1 }
    maximum_record_age_in_seconds = 3600
    report_batch_item_failures    = false
    create_failure_queue          = false
  }

  assert {
    condition = alltrue([
      aws_lambda_event_source_mapping.kafka["runs"].function_response_types == null,
      aws_lambda_event_source_mapping.kafka["runs"].maximum_retry_attempts == -1,
      aws_lambda_event_source_mapping.kafka["runs"].maximum_record_age_in_seconds == 3600,
      length(aws_lambda_event_source_mapping.kafka["runs"].destination_config) == 0,
      length(aws_sqs_queue.failures) == 0,
      aws_lambda_function.this.environment[0].variables.REPORT_BATCH_ITEM_FAILURES == "false",
    ])
    error_message = "Partial batch responses and the failure queue can be switched off."
  }
}

run "no_mapping" {
  command = plan

  variables {
    create_event_source_mapping = false
    port_api_url                = "http://localhost:8080"
    kafka_bootstrap_servers     = ["localhost:9096"]
  }

  assert {
    condition     = length(aws_lambda_event_source_mapping.kafka) == 0 && output.lambda_event_source_mapping_uuid == null
    error_message = "The function can be created without a mapping."
  }

  assert {
    condition     = local.port_api_url == "http://localhost:8080" && local.kafka_bootstrap_servers == tolist(["localhost:9096"])
    error_message = "Given addresses replace the region's addresses."
  }
}

run "function" {
  command = plan

  variables {
    name                              = "runner"
    architecture                      = "arm64"
    handler                           = "mine.handler"
    memory_size                       = 512
    timeout                           = 120
    reserved_concurrent_executions    = 2
    environment_variables             = { INSTANCE_PREFIX = "dev-" }
    log_level                         = "DEBUG"
    unknown_actions                   = "fail"
    verify_signature                  = "required"
    max_concurrency                   = 4
    give_up_age_in_seconds            = 3600
    deadline_margin_in_seconds        = 2.5
    cloudwatch_logs_retention_in_days = 365
    kafka_credentials_version         = 2
    port_credentials_version          = 3
    secrets_recovery_window_in_days   = 7
    tags                              = { team = "platform" }
    alarm_topic_arns                  = ["arn:aws:sns:eu-west-1:123456789012:alarms"]
    alarm_offset_lag                  = 50
    function_package                  = null
    layer_package                     = null
    package_s3 = {
      bucket               = "builds"
      function_key         = "function.zip"
      layer_key            = "layer.zip"
      layer_object_version = "7"
    }
  }

  assert {
    condition = alltrue([
      aws_lambda_function.this.function_name == "runner",
      aws_lambda_function.this.architectures == tolist(["arm64"]),
      aws_lambda_layer_version.dependencies.compatible_architectures == toset(["arm64"]),
      aws_lambda_function.this.handler == "mine.handler",
      aws_lambda_function.this.memory_size == 512,
      aws_lambda_function.this.timeout == 120,
      aws_lambda_function.this.reserved_concurrent_executions == 2,
      aws_cloudwatch_log_group.lambda.name == "/aws/lambda/runner",
      aws_cloudwatch_log_group.lambda.retention_in_days == 365,
      output.kafka_consumer_group_id == "org_sYG4DOJZNGy8bYnt.runner",
    ])
    error_message = "The function is as the variables say."
  }

  assert {
    condition = aws_lambda_function.this.environment[0].variables == tomap({
      DEADLINE_MARGIN_SECONDS     = "2.5"
      FAILURE_QUEUE_URL           = "https://sqs.eu-west-1.amazonaws.com/123456789012/port-execution-lambda-failures"
      INSTANCE_PREFIX             = "dev-"
      LOG_LEVEL                   = "DEBUG"
      MAX_CONCURRENCY             = "4"
      MAXIMUM_RECORD_AGE_SECONDS  = "3600"
      PORT_API_URL                = "https://api.port.io"
      PORT_CREDENTIALS_SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/port-credentials-bbbbbb"
      REPORT_BATCH_ITEM_FAILURES  = "false"
      UNKNOWN_ACTIONS             = "fail"
      VERIFY_SIGNATURE            = "required"
    })
    error_message = "The caller's environment variables are added to those of the module."
  }

  assert {
    condition = alltrue([
      aws_lambda_function.this.s3_bucket == "builds",
      aws_lambda_function.this.s3_key == "function.zip",
      aws_lambda_function.this.filename == null,
      aws_lambda_layer_version.dependencies.s3_bucket == "builds",
      aws_lambda_layer_version.dependencies.s3_key == "layer.zip",
      aws_lambda_layer_version.dependencies.s3_object_version == "7",
      aws_lambda_layer_version.dependencies.filename == null,
    ])
    error_message = "The packages come from the bucket, and no local file is needed."
  }

  assert {
    condition = alltrue([
      one(aws_secretsmanager_secret_version.kafka_credentials).secret_string_wo_version == 2,
      one(aws_secretsmanager_secret_version.port_credentials).secret_string_wo_version == 3,
      one(aws_secretsmanager_secret.kafka_credentials).recovery_window_in_days == 7,
    ])
    error_message = "A raised version writes the credentials again."
  }

  assert {
    condition = alltrue([for tagged in concat(
      [aws_lambda_function.this, aws_cloudwatch_log_group.lambda],
      aws_iam_role.lambda, aws_secretsmanager_secret.kafka_credentials, aws_secretsmanager_secret.port_credentials, aws_sqs_queue.failures,
      values(aws_lambda_event_source_mapping.kafka), values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.no_run_ended,
    ) : tagged.tags == tomap({ team = "platform" })])
    error_message = "All resources that support tags have the tags."
  }

  assert {
    condition = { for key, alarm in aws_cloudwatch_metric_alarm.this : key => [alarm.alarm_name, alarm.metric_name, alarm.threshold] } == {
      duration      = ["runner-duration", "Duration", 108000]
      errors        = ["runner-errors", "Errors", 0]
      failure-queue = ["runner-failure-queue", "ApproximateNumberOfMessagesVisible", 0]
      offset-lag    = ["runner-offset-lag", "OffsetLag", 50]
      throttles     = ["runner-throttles", "Throttles", 0]
    }
    error_message = "There are alarms for errors, throttles, waiting runs, long invocations and kept records."
  }

  assert {
    condition = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.no_run_ended) : alltrue([
      alarm.alarm_actions == toset(var.alarm_topic_arns),
      alarm.ok_actions == toset(var.alarm_topic_arns),
      alarm.treat_missing_data == "notBreaching",
    ])])
    error_message = "Every alarm notifies the topic, and missing data starts no alarm."
  }

  assert {
    condition = { for query in one(aws_cloudwatch_metric_alarm.no_run_ended).metric_query : query.id => [one(query.metric[*].metric_name), one(query.metric[*].dimensions)] if query.id != "unended" } == {
      started = ["RunsStarted", tomap({ FunctionName = "runner" })]
      ended   = ["RunsEnded", tomap({ FunctionName = "runner" })]
    }
    error_message = "The alarm for runs that do not end compares the function's own counters."
  }
}
