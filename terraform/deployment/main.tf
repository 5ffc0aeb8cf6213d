# Region and credentials come from the environment: AWS_REGION and the role that the pipeline assumes.
provider "aws" {
  default_tags {
    tags = { environment = var.environment }
  }
}

module "port_runner" {
  source = "../"

  name        = var.name
  port_org_id = var.port_org_id
  port_region = var.port_region

  kafka_credentials         = { username = var.kafka_username, password = var.kafka_password }
  kafka_credentials_version = var.kafka_credentials_version
  port_credentials          = { client_id = var.port_client_id, client_secret = var.port_client_secret }
  port_credentials_version  = var.port_credentials_version

  alarm_topic_arns = var.alarm_topic_arns
}
