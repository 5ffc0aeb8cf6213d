output "lambda_function_name" {
  description = "Name of the function."
  value       = module.port_runner.lambda_function_name
}

output "lambda_role_arn" {
  description = "ARN of the function's role, for the policies of what its handlers reach."
  value       = module.port_runner.lambda_role_arn
}

output "lambda_cloudwatch_log_group_name" {
  description = "Name of the function's log group."
  value       = module.port_runner.lambda_cloudwatch_log_group_name
}

output "lambda_event_source_mapping_uuid" {
  description = "UUID of the event source mapping."
  value       = module.port_runner.lambda_event_source_mapping_uuid
}

output "failure_queue_url" {
  description = "URL of the queue of records that could be neither run nor reported."
  value       = module.port_runner.failure_queue_url
}

output "dashboard_name" {
  description = "Name of the CloudWatch dashboard."
  value       = module.port_runner.dashboard_name
}
