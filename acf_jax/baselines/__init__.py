"""What a user would pick instead: trees and small networks on magnitudes."""
