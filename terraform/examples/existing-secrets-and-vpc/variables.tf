variable "region" {
  description = "AWS region. Null: the region in the environment (AWS_REGION)."
  type        = string
  default     = null
}

variable "name" {
  description = "Name of the function. The names of all other resources begin with it."
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
  description = "Private subnets with a route to Port's API, Secrets Manager and SQS."
  type        = list(string)
}

variable "vpc_security_group_ids" {
  description = "Security groups that allow outgoing HTTPS."
  type        = list(string)
}

variable "role_path" {
  description = "IAM path under which you may create roles."
  type        = string
  default     = "/"
}

variable "role_permissions_boundary" {
  description = "ARN of the permissions boundary that every role of yours must have."
  type        = string
  default     = null
}

variable "instance_sizes_parameter_arn" {
  description = "ARN of an SSM parameter that a handler reads. It stands for the resources that your handlers need."
  type        = string
}

variable "kms_key_arn" {
  description = "ARN of your KMS key. Its policy must allow CloudWatch Logs of the region to use it. Null: keys that AWS owns."
  type        = string
  default     = null
}

variable "alarm_topic_arns" {
  description = "SNS topics that receive alarms."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
}

variable "port_region" {
  description = "Region of your Port organization, \"eu\" or \"us\"."
  type        = string
  default     = "eu"
}
