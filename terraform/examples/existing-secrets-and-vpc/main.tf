provider "aws" {
  region = var.region

  default_tags {
    tags = var.tags
  }
}

data "aws_secretsmanager_secret" "kafka_credentials" {
  name = var.kafka_credentials_secret_name
}

data "aws_secretsmanager_secret" "port_credentials" {
  name = var.port_credentials_secret_name
}

module "port_runner" {
  source = "../.."

  name                         = var.name
  port_org_id                  = var.port_org_id
  kafka_credentials_secret_arn = data.aws_secretsmanager_secret.kafka_credentials.arn
  port_credentials_secret_arn  = data.aws_secretsmanager_secret.port_credentials.arn

  vpc_subnet_ids         = var.vpc_subnet_ids
  vpc_security_group_ids = var.vpc_security_group_ids

  role_path                         = var.role_path
  role_permissions_boundary         = var.role_permissions_boundary
  policy_json                       = data.aws_iam_policy_document.handlers.json
  kms_key_arn                       = var.kms_key_arn
  cloudwatch_logs_retention_in_days = 365
  alarm_topic_arns                  = var.alarm_topic_arns
  create_dashboard                  = true

  port_region = var.port_region
}

# An example of permissions for handlers.
data "aws_iam_policy_document" "handlers" {
  statement {
    sid       = "ReadInstanceSizes"
    actions   = ["ssm:GetParameter"]
    resources = [var.instance_sizes_parameter_arn]
  }
}
