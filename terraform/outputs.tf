output "lambda_function_arn" {
  description = "ARN of the function."
  value       = aws_lambda_function.this.arn
}

output "lambda_function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "lambda_layer_arn" {
  description = "ARN of the layer, with its version."
  value       = aws_lambda_layer_version.dependencies.arn
}

output "lambda_role_arn" {
  description = "ARN of the function's role."
  value       = local.role_arn
}

output "lambda_role_name" {
  description = "Name of the function's role."
  value       = reverse(split("/", local.role_arn))[0]
}

output "lambda_role_policy_json" {
  description = "IAM policy (JSON) with the permissions that the function's role needs. The module's own role has it; add it to the role of role_arn yourself."
  value       = data.aws_iam_policy_document.lambda.json
}

output "lambda_cloudwatch_log_group_name" {
  description = "Name of the function's log group."
  value       = aws_cloudwatch_log_group.lambda.name
}

output "lambda_cloudwatch_log_group_arn" {
  description = "ARN of the function's log group."
  value       = aws_cloudwatch_log_group.lambda.arn
}

output "lambda_event_source_mapping_arn" {
  description = "ARN of the mapping of the runs; null without a mapping."
  value       = one([for key, mapping in aws_lambda_event_source_mapping.kafka : mapping.arn if key == "runs"])
}

output "lambda_event_source_mapping_uuid" {
  description = "UUID of the mapping of the runs; null without a mapping."
  value       = one([for key, mapping in aws_lambda_event_source_mapping.kafka : mapping.uuid if key == "runs"])
}

output "lambda_event_source_mapping_state" {
  description = "State of the mapping of the runs when Terraform last read it, such as Enabled; null without a mapping."
  value       = one([for key, mapping in aws_lambda_event_source_mapping.kafka : mapping.state if key == "runs"])
}

output "lambda_event_source_mapping_last_processing_result" {
  description = "Result of the last batch of runs when Terraform last read it. Wrong Kafka credentials show here; they do not fail an apply. Null without a mapping."
  value       = one([for key, mapping in aws_lambda_event_source_mapping.kafka : mapping.last_processing_result if key == "runs"])
}

output "change_log_event_source_mapping_uuid" {
  description = "UUID of the mapping of the change log; null without a mapping."
  value       = one([for key, mapping in aws_lambda_event_source_mapping.kafka : mapping.uuid if key == "change_log"])
}

output "change_log_event_source_mapping_state" {
  description = "State of the mapping of the change log when Terraform last read it; null without a mapping."
  value       = one([for key, mapping in aws_lambda_event_source_mapping.kafka : mapping.state if key == "change_log"])
}

output "change_log_event_source_mapping_last_processing_result" {
  description = "Result of the last batch of the change log when Terraform last read it; null without a mapping."
  value       = one([for key, mapping in aws_lambda_event_source_mapping.kafka : mapping.last_processing_result if key == "change_log"])
}

output "kafka_topic" {
  description = "Topic of the runs."
  value       = local.kafka_topic
}

output "kafka_consumer_group_id" {
  description = "Consumer group that reads the runs."
  value       = local.kafka_consumer_group_id
}

output "kafka_credentials_secret_arn" {
  description = "ARN of the secret with the Kafka user."
  value       = local.kafka_credentials_secret_arn
}

output "kafka_ca_certificate_secret_arn" {
  description = "ARN of the secret with the brokers' private authority; null without kafka_ca_certificate."
  value       = local.kafka_ca_certificate_secret_arn
}

output "port_credentials_secret_arn" {
  description = "ARN of the secret with Port's client."
  value       = local.port_credentials_secret_arn
}

output "failure_queue_url" {
  description = "URL of the queue of records that could be neither run nor reported; null without create_failure_queue."
  value       = one(aws_sqs_queue.failures[*].url)
}

output "failure_queue_arn" {
  description = "ARN of that queue; null without create_failure_queue."
  value       = local.failure_queue_arn
}

output "alarm_arns" {
  description = "ARNs of the alarms, by the last part of their names; empty without alarm_topic_arns."
  value = merge(
    { for key, alarm in aws_cloudwatch_metric_alarm.this : key => alarm.arn },
    { for alarm in aws_cloudwatch_metric_alarm.no_run_ended : "no-run-ended" => alarm.arn },
  )
}

output "dashboard_name" {
  description = "Name of the CloudWatch dashboard; null without create_dashboard."
  value       = one(aws_cloudwatch_dashboard.this[*].dashboard_name)
}
