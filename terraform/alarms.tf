locals {
  create_alarms = length(var.alarm_topic_arns) > 0

  # The function writes its metrics as log lines, and CloudWatch extracts them.
  metric_namespace = "PortRunner"

  function_dimensions = { FunctionName = aws_lambda_function.this.function_name }

  alarms = merge(
    {
      errors = {
        description        = "The function failed. Lambda redelivers its batch, and later runs wait."
        namespace          = "AWS/Lambda"
        metric_name        = "Errors"
        dimensions         = local.function_dimensions
        statistic          = "Sum"
        evaluation_periods = 1
        threshold          = 0
      }
      throttles = {
        description        = "Lambda throttled invocations. The concurrency of the function or of the account is used up."
        namespace          = "AWS/Lambda"
        metric_name        = "Throttles"
        dimensions         = local.function_dimensions
        statistic          = "Sum"
        evaluation_periods = 1
        threshold          = 0
      }
      duration = {
        description        = "An invocation took more than 90 % of the timeout. At the timeout, its runs end as timed out."
        namespace          = "AWS/Lambda"
        metric_name        = "Duration"
        dimensions         = local.function_dimensions
        statistic          = "Maximum"
        evaluation_periods = 1
        threshold          = var.timeout * 900
      }
      offset-lag = {
        description        = "Runs have been waiting in Kafka for 15 minutes."
        namespace          = "AWS/Lambda"
        metric_name        = "OffsetLag"
        dimensions         = local.function_dimensions
        statistic          = "Maximum"
        evaluation_periods = 3
        threshold          = var.alarm_offset_lag
      }
    },
    {
      for queue in aws_sqs_queue.failures : "failure-queue" => {
        description        = "The failure queue holds records that could be neither run nor reported."
        namespace          = "AWS/SQS"
        metric_name        = "ApproximateNumberOfMessagesVisible"
        dimensions         = { QueueName = queue.name }
        statistic          = "Maximum"
        evaluation_periods = 1
        threshold          = 0
      }
    },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.create_alarms ? local.alarms : {}

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric_name
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 300
  evaluation_periods  = each.value.evaluation_periods
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "no_run_ended" {
  count = local.create_alarms ? 1 : 0

  alarm_name          = "${var.name}-no-run-ended"
  alarm_description   = "Runs started for half an hour, but no run ended. Handlers hang, or Port cannot be reached."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  # 15 minutes are longer than any invocation. Two periods leave out a run that ends just after the first period.
  evaluation_periods = 2
  treat_missing_data = "notBreaching"
  alarm_actions      = var.alarm_topic_arns
  ok_actions         = var.alarm_topic_arns
  tags               = var.tags

  metric_query {
    id          = "unended"
    label       = "Runs started while none ended"
    expression  = "IF(FILL(ended, 0) == 0, FILL(started, 0), 0)"
    return_data = true
  }

  metric_query {
    id = "started"

    metric {
      namespace   = local.metric_namespace
      metric_name = "RunsStarted"
      dimensions  = local.function_dimensions
      period      = 900
      stat        = "Sum"
    }
  }

  metric_query {
    id = "ended"

    metric {
      namespace   = local.metric_namespace
      metric_name = "RunsEnded"
      dimensions  = local.function_dimensions
      period      = 900
      stat        = "Sum"
    }
  }
}
