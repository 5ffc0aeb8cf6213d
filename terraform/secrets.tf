locals {
  kafka_credentials_secret_arn    = var.kafka_credentials_secret_arn == null ? aws_secretsmanager_secret.kafka_credentials[0].arn : var.kafka_credentials_secret_arn
  port_credentials_secret_arn     = var.port_credentials_secret_arn == null ? aws_secretsmanager_secret.port_credentials[0].arn : var.port_credentials_secret_arn
  kafka_ca_certificate_secret_arn = one(aws_secretsmanager_secret.kafka_ca_certificate[*].arn)
}

# The values come from ephemeral variables and go into write-only arguments, so neither the state nor a saved plan holds
# them. Terraform cannot see that such a value has changed. The version number tells it.

resource "aws_secretsmanager_secret" "kafka_credentials" {
  # checkov:skip=CKV2_AWS_57:Port issues the credentials, so AWS cannot rotate them. A raised version number writes new ones.

  count = var.kafka_credentials_secret_arn == null ? 1 : 0

  name                    = "${var.name}/kafka-credentials"
  description             = "Kafka user with which Lambda reads ${local.kafka_topic}"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.secrets_recovery_window_in_days
  tags                    = var.tags
}

resource "aws_secretsmanager_secret_version" "kafka_credentials" {
  count = var.kafka_credentials_secret_arn == null ? 1 : 0

  secret_id                = aws_secretsmanager_secret.kafka_credentials[0].id
  secret_string_wo         = jsonencode(var.kafka_credentials)
  secret_string_wo_version = var.kafka_credentials_version
}

resource "aws_secretsmanager_secret" "port_credentials" {
  # checkov:skip=CKV2_AWS_57:Port issues the credentials, so AWS cannot rotate them. A raised version number writes new ones.

  count = var.port_credentials_secret_arn == null ? 1 : 0

  name                    = "${var.name}/port-credentials"
  description             = "Port client with which ${var.name} reports runs"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.secrets_recovery_window_in_days
  tags                    = var.tags
}

resource "aws_secretsmanager_secret_version" "port_credentials" {
  count = var.port_credentials_secret_arn == null ? 1 : 0

  secret_id                = aws_secretsmanager_secret.port_credentials[0].id
  secret_string_wo         = jsonencode({ for key, value in var.port_credentials : key => value if value != null })
  secret_string_wo_version = var.port_credentials_version
}

# Lambda accepts a private CA only from a secret. A certificate is public, so Terraform may store it and see its
# changes.

resource "aws_secretsmanager_secret" "kafka_ca_certificate" {
  # checkov:skip=CKV2_AWS_57:A certificate is not a secret. It changes when its authority issues a new one.

  count = var.kafka_ca_certificate == null ? 0 : 1

  name                    = "${var.name}/kafka-ca-certificate"
  description             = "Certificate authority of the Kafka brokers of ${local.kafka_topic}"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.secrets_recovery_window_in_days
  tags                    = var.tags
}

resource "aws_secretsmanager_secret_version" "kafka_ca_certificate" {
  count = var.kafka_ca_certificate == null ? 0 : 1

  secret_id     = aws_secretsmanager_secret.kafka_ca_certificate[0].id
  secret_string = jsonencode({ certificate = var.kafka_ca_certificate })
}
