variable "region" {
  description = "AWS region. Null: the region in the environment (AWS_REGION)."
  type        = string
  default     = null
}

variable "port_org_id" {
  description = "Identifier of your Port organization."
  type        = string
}

variable "kafka_credentials" {
  description = "Kafka user that Port gave your organization."
  type = object({
    username = string
    password = string
  })
  ephemeral = true
  sensitive = true
}

variable "port_credentials" {
  description = "API client of your Port organization."
  type = object({
    client_id         = string
    client_secret     = string
    encryption_secret = optional(string)
  })
  ephemeral = true
  sensitive = true
}

variable "port_region" {
  description = "Region of your Port organization, \"eu\" or \"us\"."
  type        = string
  default     = "eu"
}
