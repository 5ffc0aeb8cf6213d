locals {
  dashboard_graphs = concat(
    [
      {
        title   = "Runs"
        stat    = "Sum"
        metrics = [for name in ["RunsStarted", "RunsEnded", "FailuresKept"] : [local.metric_namespace, name, "FunctionName", var.name]]
      },
      {
        title   = "Invocations"
        stat    = "Sum"
        metrics = [for name in ["Invocations", "Errors", "Throttles"] : ["AWS/Lambda", name, "FunctionName", var.name]]
      },
      {
        title = "Longest times in milliseconds, of ${var.timeout * 1000}"
        stat  = "Maximum"
        metrics = [
          [local.metric_namespace, "DeliveryLag", "FunctionName", var.name],
          [local.metric_namespace, "HandlerTime", "FunctionName", var.name],
          ["AWS/Lambda", "Duration", "FunctionName", var.name],
        ]
      },
      {
        title   = "Records that wait in Kafka"
        stat    = "Maximum"
        metrics = [["AWS/Lambda", "OffsetLag", "FunctionName", var.name]]
      },
    ],
    [
      for queue in aws_sqs_queue.failures : {
        title   = "Failure queue"
        stat    = "Maximum"
        metrics = [["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue.name]]
      }
    ],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  count = var.create_dashboard ? 1 : 0

  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = concat(
      [
        for index, graph in local.dashboard_graphs : {
          type   = "metric"
          x      = index % 3 * 8
          y      = floor(index / 3) * 6
          width  = 8
          height = 6
          properties = {
            title   = graph.title
            region  = local.region
            stat    = graph.stat
            period  = 300
            metrics = graph.metrics
          }
        }
      ],
      [
        {
          type   = "log"
          x      = 0
          y      = 12
          width  = 24
          height = 8
          properties = {
            title  = "Warnings and errors"
            region = local.region
            query  = "SOURCE '${aws_cloudwatch_log_group.lambda.name}' | fields @timestamp, level, event, run_id | filter level in ['WARNING', 'ERROR', 'CRITICAL'] | sort @timestamp desc | limit 50"
            view   = "table"
          }
        }
      ],
    )
  })
}
