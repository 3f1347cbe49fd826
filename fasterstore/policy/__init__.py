"""Bucket policies: IAM documents parsed, validated, compiled and decided; what makes a bucket public. Pure values, no clock."""
