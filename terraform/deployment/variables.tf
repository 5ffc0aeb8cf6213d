variable "environment" {
  description = "Name of the environment, such as production. It becomes a tag of every resource."
  type        = string
}

variable "name" {
  description = "Name of the function. The names of all other resources begin with it."
  type        = string
  default     = "port-execution-lambda"
}

variable "port_org_id" {
  description = "Identifier of the environment's Port organization."
  type        = string
}

variable "port_region" {
  description = "Region of that Port organization, \"eu\" or \"us\"."
  type        = string
  default     = "eu"
}

variable "kafka_username" {
  description = "Kafka user that Port gave that organization."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "kafka_password" {
  description = "That user's password."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "kafka_credentials_version" {
  description = "Raise this number when the Kafka user or password changes."
  type        = number
  default     = 1
}

variable "port_client_id" {
  description = "API client of your Port organization."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "port_client_secret" {
  description = "That client's secret."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "port_credentials_version" {
  description = "Raise this number when Port's client or its secret changes."
  type        = number
  default     = 1
}

variable "alarm_topic_arns" {
  description = "SNS topics that receive alarms."
  type        = list(string)
  default     = []
}
