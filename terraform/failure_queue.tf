# Records that the function could neither run nor report. It writes the whole record, so that an operator can resend it.
resource "aws_sqs_queue" "failures" {
  count = var.create_failure_queue ? 1 : 0

  name                      = "${var.name}-failures"
  message_retention_seconds = 1209600 # 14 days, the maximum of SQS
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null
  kms_master_key_id         = var.kms_key_arn
  tags                      = var.tags
}
