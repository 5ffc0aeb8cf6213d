locals {
  kafka_topic             = coalesce(var.kafka_topic, "${var.port_org_id}.runs")
  kafka_consumer_group_id = coalesce(var.kafka_consumer_group_id, "${var.port_org_id}.${var.name}")

  # Port's older messages also name the action in payload.action.identifier, newer ones only at the top.
  runs_filter_patterns = length(var.filter_actions) == 0 ? [] : [
    jsonencode({ value = { action = var.filter_actions } }),
    jsonencode({ value = { payload = { action = { identifier = var.filter_actions } } } }),
  ]

  event_sources = merge(
    {
      runs = {
        topic             = local.kafka_topic
        consumer_group_id = local.kafka_consumer_group_id
        filter_patterns   = local.runs_filter_patterns
      }
    },
    var.create_change_log_event_source_mapping ? {
      change_log = {
        topic = "${var.port_org_id}.change.log"
        # Lambda needs a separate consumer group for each mapping, and Port one that begins with the organization.
        consumer_group_id = "${startswith(local.kafka_consumer_group_id, "${var.port_org_id}.") ? local.kafka_consumer_group_id : "${var.port_org_id}.${var.name}"}.change-log"
        filter_patterns   = []
      }
    } : {},
  )

  source_access = merge(
    { (var.kafka_sasl_mechanism) = local.kafka_credentials_secret_arn },
    var.kafka_ca_certificate == null ? {} : { SERVER_ROOT_CA_CERTIFICATE = local.kafka_ca_certificate_secret_arn },
  )

  provisioned                = var.provisioned_pollers != null
  report_batch_item_failures = coalesce(var.report_batch_item_failures, local.provisioned)

  # If Lambda may give up a batch, the batch goes to a destination.
  discards_batches        = var.maximum_retry_attempts != null || var.maximum_record_age_in_seconds != null
  failure_destination_arn = local.discards_batches ? try(coalesce(var.failure_destination_arn, local.failure_queue_arn), null) : var.failure_destination_arn
}

resource "aws_lambda_event_source_mapping" "kafka" {
  for_each = var.create_event_source_mapping ? local.event_sources : {}

  function_name     = aws_lambda_function.this.arn
  enabled           = var.event_source_mapping_enabled
  topics            = [each.value.topic]
  starting_position = var.starting_position

  batch_size                         = var.batch_size
  maximum_batching_window_in_seconds = var.maximum_batching_window_in_seconds

  # The provider keeps the old number when the argument is removed, so -1, Lambda's default, is set explicitly.
  maximum_retry_attempts         = local.provisioned ? coalesce(var.maximum_retry_attempts, -1) : null
  maximum_record_age_in_seconds  = local.provisioned ? coalesce(var.maximum_record_age_in_seconds, -1) : null
  bisect_batch_on_function_error = local.provisioned ? var.bisect_batch_on_function_error : null
  function_response_types        = local.report_batch_item_failures ? ["ReportBatchItemFailures"] : null

  self_managed_event_source {
    endpoints = {
      KAFKA_BOOTSTRAP_SERVERS = join(",", local.kafka_bootstrap_servers)
    }
  }

  self_managed_kafka_event_source_config {
    consumer_group_id = each.value.consumer_group_id
  }

  dynamic "source_access_configuration" {
    for_each = local.source_access

    content {
      type = source_access_configuration.key
      uri  = source_access_configuration.value
    }
  }

  dynamic "filter_criteria" {
    for_each = length(each.value.filter_patterns) > 0 ? [each.value.filter_patterns] : []

    content {
      dynamic "filter" {
        for_each = filter_criteria.value

        content {
          pattern = filter.value
        }
      }
    }
  }

  dynamic "provisioned_poller_config" {
    for_each = var.provisioned_pollers[*]

    content {
      minimum_pollers = provisioned_poller_config.value.minimum
      maximum_pollers = provisioned_poller_config.value.maximum
    }
  }

  dynamic "destination_config" {
    for_each = local.failure_destination_arn[*]

    content {
      on_failure {
        destination_arn = destination_config.value
      }
    }
  }

  tags = var.tags

  # Lambda reads the secrets with the function's role as soon as the mapping exists. On destroy, the order makes the
  # mapping go first. The mapping is not replaced create_before_destroy: two mappings in one consumer group would share
  # the topic.
  depends_on = [
    aws_iam_role_policy.this,
    aws_iam_role_policy_attachment.handlers,
    aws_secretsmanager_secret_version.kafka_credentials,
    aws_secretsmanager_secret_version.kafka_ca_certificate,
    aws_secretsmanager_secret_version.port_credentials,
  ]
}
