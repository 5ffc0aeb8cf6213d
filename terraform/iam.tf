locals {
  role_arn = var.role_arn == null ? aws_iam_role.lambda[0].arn : var.role_arn

  # The policy document refers to resources through locals only. With a direct reference, Terraform reads the document
  # during the apply whenever that resource changes, and each such plan shows a change of the policy that is not real.
  log_group_arn     = aws_cloudwatch_log_group.lambda.arn
  failure_queue_arn = one(aws_sqs_queue.failures[*].arn)

  # Read from an ARN, because the data source of the region has different attributes in each major provider version.
  log_group_arn_parts = split(":", local.log_group_arn)
  region              = local.log_group_arn_parts[3]
  function_arn        = join(":", [local.log_group_arn_parts[0], local.log_group_arn_parts[1], "lambda", local.region, local.log_group_arn_parts[4], "function", var.name])

  failure_destination_service = var.failure_destination_arn == null ? null : split(":", var.failure_destination_arn)[2]

  network_interface_actions = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
  ]
}

data "aws_iam_policy_document" "assume_role" {
  statement {
    sid     = "LetLambdaAssumeTheRole"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "lambda" {
  count = var.role_arn == null ? 1 : 0

  name                 = var.name
  path                 = var.role_path
  description          = "Execution role of the Lambda function ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.assume_role.json
  permissions_boundary = var.role_permissions_boundary
  tags                 = var.tags
}

data "aws_iam_policy_document" "lambda" {
  source_policy_documents = var.policy_json[*]

  statement {
    sid       = "WriteLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${local.log_group_arn}:*"]
  }

  # Lambda uses the function's role to read the mapping's secrets.
  statement {
    sid       = "ReadKafkaCredentials"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [local.kafka_credentials_secret_arn]
  }

  statement {
    sid       = "ReadPortCredentials"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [local.port_credentials_secret_arn]
  }

  dynamic "statement" {
    for_each = var.client_side_private_key_secret_arn[*]

    content {
      sid       = "ReadClientSidePrivateKey"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.kafka_ca_certificate == null ? [] : [local.kafka_ca_certificate_secret_arn]

    content {
      sid       = "ReadKafkaCaCertificate"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.create_failure_queue ? [local.failure_queue_arn] : []

    content {
      sid       = "KeepFailedRecords"
      actions   = ["sqs:SendMessage"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = local.failure_destination_service == null ? [] : [local.failure_destination_service]

    content {
      sid       = "SendDiscardedBatches"
      actions   = { sqs = ["sqs:SendMessage"], sns = ["sns:Publish"], s3 = ["s3:ListBucket", "s3:PutObject"] }[statement.value]
      resources = statement.value == "s3" ? [var.failure_destination_arn, "${var.failure_destination_arn}/*"] : [var.failure_destination_arn]
    }
  }

  dynamic "statement" {
    for_each = var.kms_key_arn[*]

    content {
      sid       = "UseKmsKey"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }

  # AWS requires "*": EC2 has no ARN for the describe actions, and Lambda checks the other actions without one.
  # The second statement denies these actions to the function's own code and leaves them to the Lambda service.
  dynamic "statement" {
    for_each = length(var.vpc_subnet_ids) > 0 ? ["*"] : []

    content {
      sid       = "ManageNetworkInterfaces"
      actions   = local.network_interface_actions
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = length(var.vpc_subnet_ids) > 0 ? ["*"] : []

    content {
      sid       = "KeepNetworkInterfacesFromTheCode"
      effect    = "Deny"
      actions   = local.network_interface_actions
      resources = [statement.value]

      condition {
        test     = "ArnEquals"
        variable = "lambda:SourceFunctionArn"
        values   = [local.function_arn]
      }
    }
  }
}

# Both refer to the role by its id, which equals its name but is unknown while the role is being replaced. So the
# policies are replaced together with the role.

resource "aws_iam_role_policy" "this" {
  count = var.role_arn == null ? 1 : 0

  name   = "port-runner"
  role   = aws_iam_role.lambda[0].id
  policy = data.aws_iam_policy_document.lambda.json
}

resource "aws_iam_role_policy_attachment" "handlers" {
  for_each = var.policy_arns

  role       = aws_iam_role.lambda[0].id
  policy_arn = each.value
}
