locals {
  # The addresses that Port publishes for its regions. The brokers' certificates are publicly trusted.
  port_regions = {
    eu = {
      api_url           = "https://api.port.io"
      bootstrap_servers = [for n in [1, 2, 3] : "b-${n}-public.publicclusterprod.t9rw6w.c1.kafka.eu-west-1.amazonaws.com:9196"]
    }
    us = {
      api_url           = "https://api.us.port.io"
      bootstrap_servers = [for n in [1, 2, 3] : "b-${n}-public.production.5v06xt.c21.kafka.us-east-1.amazonaws.com:9196"]
    }
  }

  port_api_url            = coalesce(var.port_api_url, local.port_regions[var.port_region].api_url)
  kafka_bootstrap_servers = coalesce(var.kafka_bootstrap_servers, local.port_regions[var.port_region].bootstrap_servers)

  function_package = coalesce(var.function_package, "${path.module}/../dist/function.zip")
  layer_package    = coalesce(var.layer_package, "${path.module}/../dist/layer-${var.architecture}.zip")
}

# Created before the function. Otherwise Lambda creates it at the first log line, without retention, and Terraform's own
# creation fails.
resource "aws_cloudwatch_log_group" "lambda" {
  # checkov:skip=CKV_AWS_338:Port keeps each run and its log. The caller decides how long the function's lines are useful.

  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.cloudwatch_logs_retention_in_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

resource "aws_lambda_layer_version" "dependencies" {
  layer_name               = "${var.name}-dependencies"
  description              = "Python packages of ${var.name}"
  compatible_runtimes      = [var.runtime]
  compatible_architectures = [var.architecture]

  filename          = var.package_s3 == null ? local.layer_package : null
  source_code_hash  = var.package_s3 == null ? filebase64sha256(local.layer_package) : null
  s3_bucket         = one(var.package_s3[*].bucket)
  s3_key            = one(var.package_s3[*].layer_key)
  s3_object_version = one(var.package_s3[*].layer_object_version)

  lifecycle {
    # Every change creates a new version. The function must use it before the old one is deleted.
    create_before_destroy = true

    precondition {
      condition     = var.package_s3 != null || fileexists(local.layer_package)
      error_message = "There is no layer package at ${local.layer_package}. Run `make package` (with ARCHITECTURE=${var.architecture}) to build it, or set layer_package or package_s3."
    }
  }
}

resource "aws_lambda_function" "this" {
  # checkov:skip=CKV_AWS_50:A trace would show one segment for a whole batch. The log and the metrics show each run.
  # checkov:skip=CKV_AWS_116:Lambda sends asynchronous invocations there, never the batches of a mapping. Those go to the failure queue.
  # checkov:skip=CKV_AWS_272:A signing profile belongs to the account. The pipeline checks the packages by their hashes.

  function_name = var.name
  description   = "Runs Port's actions: reads ${local.kafka_topic} and reports each run to Port"
  role          = local.role_arn
  kms_key_arn   = var.kms_key_arn

  filename          = var.package_s3 == null ? local.function_package : null
  source_code_hash  = var.package_s3 == null ? filebase64sha256(local.function_package) : null
  s3_bucket         = one(var.package_s3[*].bucket)
  s3_key            = one(var.package_s3[*].function_key)
  s3_object_version = one(var.package_s3[*].function_object_version)
  layers            = [aws_lambda_layer_version.dependencies.arn]

  handler                        = var.handler
  runtime                        = var.runtime
  architectures                  = [var.architecture]
  memory_size                    = var.memory_size
  timeout                        = var.timeout
  reserved_concurrent_executions = var.reserved_concurrent_executions

  environment {
    variables = merge(
      var.environment_variables,
      {
        PORT_API_URL                = local.port_api_url
        PORT_CREDENTIALS_SECRET_ARN = local.port_credentials_secret_arn
        LOG_LEVEL                   = var.log_level
        REPORT_BATCH_ITEM_FAILURES  = tostring(local.report_batch_item_failures)
        UNKNOWN_ACTIONS             = var.unknown_actions
        VERIFY_SIGNATURE            = var.verify_signature
        MAX_CONCURRENCY             = tostring(var.max_concurrency)
        MAXIMUM_RECORD_AGE_SECONDS  = tostring(var.give_up_age_in_seconds)
      },
      { for seconds in var.deadline_margin_in_seconds[*] : "DEADLINE_MARGIN_SECONDS" => tostring(seconds) },
      { for arn in var.client_side_private_key_secret_arn[*] : "CLIENT_SIDE_PRIVATE_KEY_SECRET_ARN" => arn },
      { for queue in aws_sqs_queue.failures : "FAILURE_QUEUE_URL" => queue.url },
    )
  }

  logging_config {
    # The function itself writes one JSON object a line, and Text passes each line on unchanged. With JSON, Lambda would
    # filter the lines by its own level and set the root logger to that level. At DEBUG, boto3 would then write the
    # answers of Secrets Manager to the log.
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.lambda.name
  }

  dynamic "vpc_config" {
    for_each = length(var.vpc_subnet_ids) > 0 ? [true] : []

    content {
      subnet_ids         = var.vpc_subnet_ids
      security_group_ids = var.vpc_security_group_ids
    }
  }

  tags = var.tags

  lifecycle {
    precondition {
      condition     = var.package_s3 != null || fileexists(local.function_package)
      error_message = "There is no function package at ${local.function_package}. Run `make package` to build it, or set function_package or package_s3."
    }

    precondition {
      condition = alltrue([
        for arn in compact([var.kafka_credentials_secret_arn, var.port_credentials_secret_arn, var.client_side_private_key_secret_arn]) :
        split(":", arn)[3] == local.region
      ])
      error_message = "kafka_credentials_secret_arn, port_credentials_secret_arn and client_side_private_key_secret_arn must be of secrets in the function's region, ${local.region}. Replicate the secrets there."
    }
  }

  # A function in a VPC needs the permission to manage network interfaces when it is created and when it is deleted.
  depends_on = [aws_iam_role_policy.this]
}
