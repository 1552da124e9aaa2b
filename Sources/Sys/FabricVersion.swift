/// The version of everything in this package.
package enum FabricVersion {
    package static let text = "0.1.0"
}
