variable "region" {
  description = "AWS region. Null: the one of the environment (AWS_REGION)."
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
  description = "Client of Port's API."
  type = object({
    client_id         = string
    client_secret     = string
    encryption_secret = optional(string)
  })
  ephemeral = true
  sensitive = true
}

variable "port_region" {
  description = "Port's region of your organization, \"eu\" or \"us\"."
  type        = string
  default     = "eu"
}
