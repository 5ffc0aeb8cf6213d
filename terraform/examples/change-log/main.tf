provider "aws" {
  region = var.region
}

module "port_runner" {
  source = "../.."

  port_org_id       = var.port_org_id
  port_region       = var.port_region
  kafka_credentials = var.kafka_credentials
  port_credentials  = var.port_credentials

  create_change_log_event_source_mapping = true
}
