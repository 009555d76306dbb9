import ArgumentParser
import HostTools
import ImageStore
package import SystemPackage

/// Where prepared images are.
package struct StoreOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The folder of prepared images.", valueName: "folder"))
    package var store = ImageStore.defaultPath.string

    package var path: FilePath { FilePath(store) }

    /// With nothing given.
    package init() {}
}

/// The keys that sign what targets run.
package struct KeysOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The folder of the bench's keys, which sign what targets run; none there: nothing is signed.",
            valueName: "folder"))
    package var keys = SigningKeys.defaultFolder.string

    package var folder: FilePath { FilePath(keys) }

    /// With nothing given.
    package init() {}
}
