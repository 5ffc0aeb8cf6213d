variable "region" {
  description = "AWS region. Null: the one of the environment (AWS_REGION)."
  type        = string
  default     = null
}

variable "name" {
  description = "Name of the function; every other resource's name begins with it."
  type        = string
  default     = "port-execution-lambda"
}

variable "port_org_id" {
  description = "Identifier of your Port organization."
  type        = string
}

variable "kafka_credentials_secret_name" {
  description = "Name of your secret {\"username\": \"…\", \"password\": \"…\"}."
  type        = string
}

variable "port_credentials_secret_name" {
  description = "Name of your secret {\"client_id\": \"…\", \"client_secret\": \"…\"}."
  type        = string
}

variable "vpc_subnet_ids" {
  description = "Private subnets with a way out to Port's API, Secrets Manager and SQS."
  type        = list(string)
}

variable "vpc_security_group_ids" {
  description = "Security groups that let HTTPS out."
  type        = list(string)
}

variable "role_path" {
  description = "IAM path under which you may make roles."
  type        = string
  default     = "/"
}

variable "role_permissions_boundary" {
  description = "ARN of the policy that bounds every role that you make."
  type        = string
  default     = null
}

variable "instance_sizes_parameter_arn" {
  description = "ARN of an SSM parameter that a handler reads: stands for what yours need."
  type        = string
}

variable "kms_key_arn" {
  description = "Your KMS key; its policy must allow CloudWatch Logs of the region. Null: keys of AWS."
  type        = string
  default     = null
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms are sent to."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}

variable "port_region" {
  description = "Port's region of your organization, \"eu\" or \"us\"."
  type        = string
  default     = "eu"
}
