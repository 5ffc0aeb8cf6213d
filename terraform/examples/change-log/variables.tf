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

variable "port_api_url" {
  description = "Address of Port's API, if it is not that of port_region."
  type        = string
  default     = null
}

variable "kafka_bootstrap_servers" {
  description = "Kafka brokers as host:port, if they are not those of port_region."
  type        = list(string)
  default     = null
}

variable "kafka_ca_certificate" {
  description = "PEM of the authority that signed the brokers' certificates, if it is a private one."
  type        = string
  default     = null
}

variable "starting_position" {
  description = "Where the new consumer groups begin: LATEST, or TRIM_HORIZON for everything that the topics still hold."
  type        = string
  default     = "LATEST"
}
