provider "aws" {
  region = var.region
}

module "port_runner" {
  source = "../.."

  port_org_id       = var.port_org_id
  kafka_credentials = var.kafka_credentials
  port_credentials  = var.port_credentials

  port_region             = var.port_region
  port_api_url            = var.port_api_url
  kafka_bootstrap_servers = var.kafka_bootstrap_servers
  kafka_ca_certificate    = var.kafka_ca_certificate
  starting_position       = var.starting_position

  create_change_log_event_source_mapping = true
}
