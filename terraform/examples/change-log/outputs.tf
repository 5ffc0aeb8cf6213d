output "lambda_function_name" {
  description = "Name of the function."
  value       = module.port_runner.lambda_function_name
}

output "lambda_cloudwatch_log_group_name" {
  description = "Name of the function's log group."
  value       = module.port_runner.lambda_cloudwatch_log_group_name
}

output "lambda_event_source_mapping_uuid" {
  description = "UUID of the mapping of the runs."
  value       = module.port_runner.lambda_event_source_mapping_uuid
}

output "change_log_event_source_mapping_uuid" {
  description = "UUID of the mapping of the change log."
  value       = module.port_runner.change_log_event_source_mapping_uuid
}
