terraform {
  # 1.11 is the first version with write-only arguments, which keep the secrets out of state and plan.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # One version, the one that the tests apply: without a lock file a later apply could take another than the plan.
      version = "5.100.0"
    }
  }

  # Bucket and key come with `terraform init -backend-config=…`: each environment has a state of its own.
  backend "s3" {
    use_lockfile = true
    encrypt      = true
  }
}
