# The policies, decoded and compared as a whole: no extra statement, no missing statement, no "*".
provider "aws" {
  region                      = "eu-west-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

variables {
  port_org_id       = "org_sYG4DOJZNGy8bYnt"
  kafka_credentials = { username = "kafka-user", password = "kafka-password" }
  port_credentials  = { client_id = "port-id", client_secret = "port-secret" }
  function_package  = "main.tf"
  layer_package     = "main.tf"
}

# The ARNs that AWS would return. With them, a plan shows the values that depend on ARNs.
override_resource {
  target          = aws_cloudwatch_log_group.lambda
  override_during = plan
  values          = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/port-execution-lambda" }
}

override_resource {
  target          = aws_secretsmanager_secret.kafka_credentials
  override_during = plan
  values          = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/kafka-credentials-aaaaaa" }
}

override_resource {
  target          = aws_secretsmanager_secret.port_credentials
  override_during = plan
  values          = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/port-credentials-bbbbbb" }
}

override_resource {
  target          = aws_secretsmanager_secret.kafka_ca_certificate
  override_during = plan
  values          = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/kafka-ca-certificate-cccccc" }
}

override_resource {
  target          = aws_sqs_queue.failures
  override_during = plan
  values = {
    arn = "arn:aws:sqs:eu-west-1:123456789012:port-execution-lambda-failures"
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/port-execution-lambda-failures"
  }
}

override_resource {
  target          = aws_iam_role.lambda
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/port-execution-lambda" }
}

run "least_privilege_by_default" {
  command = plan

  assert {
    condition = jsondecode(data.aws_iam_policy_document.assume_role.json) == {
      Version = "2012-10-17"
      Statement = [
        {
          Sid       = "LetLambdaAssumeTheRole"
          Effect    = "Allow"
          Action    = "sts:AssumeRole"
          Principal = { Service = "lambda.amazonaws.com" }
        },
      ]
    }
    error_message = "Only Lambda may assume the role."
  }

  assert {
    condition = jsondecode(one(aws_iam_role_policy.this).policy) == {
      Version = "2012-10-17"
      Statement = [
        {
          Sid      = "WriteLogs"
          Effect   = "Allow"
          Action   = ["logs:PutLogEvents", "logs:CreateLogStream"]
          Resource = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/port-execution-lambda:*"
        },
        {
          Sid      = "ReadKafkaCredentials"
          Effect   = "Allow"
          Action   = "secretsmanager:GetSecretValue"
          Resource = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/kafka-credentials-aaaaaa"
        },
        {
          Sid      = "ReadPortCredentials"
          Effect   = "Allow"
          Action   = "secretsmanager:GetSecretValue"
          Resource = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/port-credentials-bbbbbb"
        },
        {
          Sid      = "KeepFailedRecords"
          Effect   = "Allow"
          Action   = "sqs:SendMessage"
          Resource = "arn:aws:sqs:eu-west-1:123456789012:port-execution-lambda-failures"
        },
      ]
    }
    error_message = "The function may write its log, read its two secrets and send to the failure queue, and nothing else."
  }

  assert {
    condition     = one(aws_iam_role.lambda).path == "/" && one(aws_iam_role.lambda).permissions_boundary == null
    error_message = "The role has the path / and no boundary."
  }

  assert {
    condition = aws_lambda_function.this.environment[0].variables == tomap({
      FAILURE_QUEUE_URL           = "https://sqs.eu-west-1.amazonaws.com/123456789012/port-execution-lambda-failures"
      LOG_LEVEL                   = "INFO"
      PORT_API_URL                = "https://api.port.io"
      PORT_CREDENTIALS_SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/port-credentials-bbbbbb"
      REPORT_BATCH_ITEM_FAILURES  = "false"
      UNKNOWN_ACTIONS             = "ignore"
      VERIFY_SIGNATURE            = "if-present"
      MAX_CONCURRENCY             = "16"
      MAXIMUM_RECORD_AGE_SECONDS  = "21600"
    })
    error_message = "The function's environment holds addresses and ARNs, but no secret."
  }
}

run "everything_switched_on" {
  command = plan

  variables {
    kafka_ca_certificate      = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    kms_key_arn               = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    failure_destination_arn   = "arn:aws:s3:::discarded-batches"
    vpc_subnet_ids            = ["subnet-1", "subnet-2"]
    vpc_security_group_ids    = ["sg-1"]
    role_path                 = "/platform/"
    role_permissions_boundary = "arn:aws:iam::123456789012:policy/boundary"

    client_side_private_key_secret_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:private-key-ffffff"

    policy_arns = { tables = "arn:aws:iam::123456789012:policy/tables" }
    policy_json = jsonencode({
      Version = "2012-10-17"
      Statement = [
        { Sid = "StartInstances", Effect = "Allow", Action = "ec2:StartInstances", Resource = "arn:aws:ec2:eu-west-1:123456789012:instance/i-1" },
      ]
    })
  }

  assert {
    condition = { for statement in jsondecode(one(aws_iam_role_policy.this).policy).Statement : statement.Sid => statement } == {
      StartInstances = {
        Sid      = "StartInstances"
        Effect   = "Allow"
        Action   = "ec2:StartInstances"
        Resource = "arn:aws:ec2:eu-west-1:123456789012:instance/i-1"
      }
      WriteLogs = {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:PutLogEvents", "logs:CreateLogStream"]
        Resource = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/port-execution-lambda:*"
      }
      ReadKafkaCredentials = {
        Sid      = "ReadKafkaCredentials"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/kafka-credentials-aaaaaa"
      }
      ReadPortCredentials = {
        Sid      = "ReadPortCredentials"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/port-credentials-bbbbbb"
      }
      ReadClientSidePrivateKey = {
        Sid      = "ReadClientSidePrivateKey"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:private-key-ffffff"
      }
      ReadKafkaCaCertificate = {
        Sid      = "ReadKafkaCaCertificate"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/kafka-ca-certificate-cccccc"
      }
      KeepFailedRecords = {
        Sid      = "KeepFailedRecords"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = "arn:aws:sqs:eu-west-1:123456789012:port-execution-lambda-failures"
      }
      SendDiscardedBatches = {
        Sid      = "SendDiscardedBatches"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:ListBucket"]
        Resource = ["arn:aws:s3:::discarded-batches/*", "arn:aws:s3:::discarded-batches"]
      }
      UseKmsKey = {
        Sid      = "UseKmsKey"
        Effect   = "Allow"
        Action   = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
      }
      ManageNetworkInterfaces = {
        Sid      = "ManageNetworkInterfaces"
        Effect   = "Allow"
        Action   = ["ec2:UnassignPrivateIpAddresses", "ec2:DescribeSubnets", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface", "ec2:CreateNetworkInterface", "ec2:AssignPrivateIpAddresses"]
        Resource = "*"
      }
      KeepNetworkInterfacesFromTheCode = {
        Sid       = "KeepNetworkInterfacesFromTheCode"
        Effect    = "Deny"
        Action    = ["ec2:UnassignPrivateIpAddresses", "ec2:DescribeSubnets", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface", "ec2:CreateNetworkInterface", "ec2:AssignPrivateIpAddresses"]
        Resource  = "*"
        Condition = { ArnEquals = { "lambda:SourceFunctionArn" = "arn:aws:lambda:eu-west-1:123456789012:function:port-execution-lambda" } }
      }
    }
    error_message = "Each switch adds its own statement. Only the EC2 statements, for which AWS has no ARNs, have a \"*\", and the code is denied these actions."
  }

  assert {
    condition = alltrue([
      one(aws_iam_role.lambda).path == "/platform/",
      one(aws_iam_role.lambda).permissions_boundary == "arn:aws:iam::123456789012:policy/boundary",
      aws_iam_role_policy_attachment.handlers["tables"].policy_arn == "arn:aws:iam::123456789012:policy/tables",
    ])
    error_message = "The role takes its path, its boundary and the handlers' policies."
  }

  assert {
    condition = alltrue([for key in [
      aws_cloudwatch_log_group.lambda.kms_key_id,
      aws_lambda_function.this.kms_key_arn,
      one(aws_secretsmanager_secret.kafka_credentials).kms_key_id,
      one(aws_secretsmanager_secret.port_credentials).kms_key_id,
      one(aws_secretsmanager_secret.kafka_ca_certificate).kms_key_id,
      one(aws_sqs_queue.failures).kms_master_key_id,
    ] : key == var.kms_key_arn])
    error_message = "One key encrypts the log, the environment, the secrets and the queue."
  }

  assert {
    condition     = jsondecode(one(aws_secretsmanager_secret_version.kafka_ca_certificate).secret_string) == { certificate = var.kafka_ca_certificate }
    error_message = "The secret of the authority has the format that Lambda reads."
  }

  assert {
    condition = { for access in aws_lambda_event_source_mapping.kafka["runs"].source_access_configuration : access.type => access.uri } == {
      SASL_SCRAM_512_AUTH        = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/kafka-credentials-aaaaaa"
      SERVER_ROOT_CA_CERTIFICATE = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-execution-lambda/kafka-ca-certificate-cccccc"
    }
    error_message = "The mapping logs in with the Kafka secret and trusts the private authority."
  }

  assert {
    condition     = one(one(aws_lambda_event_source_mapping.kafka["runs"].destination_config).on_failure).destination_arn == "arn:aws:s3:::discarded-batches"
    error_message = "Lambda sends the batches that it gives up to the bucket."
  }

  assert {
    condition     = toset(one(aws_lambda_function.this.vpc_config).subnet_ids) == toset(["subnet-1", "subnet-2"]) && toset(one(aws_lambda_function.this.vpc_config).security_group_ids) == toset(["sg-1"])
    error_message = "The function runs in the subnets with the security group."
  }
}

run "what_the_caller_brings" {
  command = plan

  variables {
    kafka_credentials            = null
    port_credentials             = null
    kafka_credentials_secret_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:kafka-dddddd"
    port_credentials_secret_arn  = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-eeeeee"
    role_arn                     = "arn:aws:iam::123456789012:role/platform/runner"
    create_failure_queue         = false
    failure_destination_arn      = "arn:aws:sns:eu-west-1:123456789012:discarded"
  }

  assert {
    condition = alltrue([for made in [
      aws_secretsmanager_secret.kafka_credentials,
      aws_secretsmanager_secret.port_credentials,
      aws_secretsmanager_secret_version.kafka_credentials,
      aws_secretsmanager_secret_version.port_credentials,
      aws_iam_role.lambda,
      aws_iam_role_policy.this,
      aws_sqs_queue.failures,
    ] : length(made) == 0])
    error_message = "The module does not create what the caller gives."
  }

  assert {
    condition = jsondecode(output.lambda_role_policy_json).Statement == [
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:PutLogEvents", "logs:CreateLogStream"]
        Resource = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/port-execution-lambda:*"
      },
      {
        Sid      = "ReadKafkaCredentials"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:kafka-dddddd"
      },
      {
        Sid      = "ReadPortCredentials"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-eeeeee"
      },
      {
        Sid      = "SendDiscardedBatches"
        Effect   = "Allow"
        Action   = "sns:Publish"
        Resource = "arn:aws:sns:eu-west-1:123456789012:discarded"
      },
    ]
    error_message = "The policy that the caller's role needs names the caller's own resources."
  }

  assert {
    condition = alltrue([
      aws_lambda_function.this.role == "arn:aws:iam::123456789012:role/platform/runner",
      output.lambda_role_name == "runner",
      output.failure_queue_url == null,
      aws_lambda_function.this.environment[0].variables.PORT_CREDENTIALS_SECRET_ARN == "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-eeeeee",
      !contains(keys(aws_lambda_function.this.environment[0].variables), "FAILURE_QUEUE_URL"),
      one(aws_lambda_event_source_mapping.kafka["runs"].source_access_configuration).uri == "arn:aws:secretsmanager:eu-west-1:123456789012:secret:kafka-dddddd",
    ])
    error_message = "Function and mapping use what the caller gives."
  }
}

run "secrets_of_another_region" {
  command = plan

  variables {
    port_credentials            = null
    port_credentials_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:port-eeeeee"
  }

  expect_failures = [aws_lambda_function.this]
}

run "private_key_of_another_region" {
  command = plan

  variables {
    client_side_private_key_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:private-key-ffffff"
  }

  expect_failures = [aws_lambda_function.this]
}
