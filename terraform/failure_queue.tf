# What the function could neither run nor report: it writes the record itself here, so a person can send it again.
resource "aws_sqs_queue" "failures" {
  count = var.create_failure_queue ? 1 : 0

  name                      = "${var.name}-failures"
  message_retention_seconds = 1209600 # fourteen days, the longest that SQS keeps a message
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null
  kms_master_key_id         = var.kms_key_arn
  tags                      = var.tags
}
