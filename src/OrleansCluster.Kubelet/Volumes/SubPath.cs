namespace OrleansCluster.Kubelet.Volumes;

/// <summary>Finds a path inside a volume without being led out of it by `..` or by a link that a container made.</summary>
internal static class SubPath
{
    /// <summary>The real path; a directory is made of what is missing.</summary>
    /// <exception cref="VolumeException">It leads out of the volume.</exception>
    public static string Resolve(string volume, string subPath)
    {
        if (Path.IsPathRooted(subPath) || subPath.Split('/').Contains(".."))
            throw new VolumeException($"subPath \"{subPath}\" must be relative and must not contain '..'");
        var root = RealPath(Path.GetFullPath(volume));
        var path = root;
        foreach (var part in subPath.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (part == ".")
                continue;
            path = RealPath(Path.Combine(path, part));
            if (path != root && !path.StartsWith(root.EndsWith('/') ? root : root + "/", StringComparison.Ordinal))
                throw new VolumeException($"subPath \"{subPath}\" leads out of the volume");
            if (!Path.Exists(path))
            {
                Directory.CreateDirectory(path);
                AtomicFiles.SetMode(path, 0b111_101_000);
            }
        }
        return path;
    }

    private static string RealPath(string path)
    {
        // Links in the directories above are resolved part by part by the caller; here only the last one may be a link.
        var info = Directory.Exists(path) ? (FileSystemInfo)new DirectoryInfo(path) : new FileInfo(path);
        if (info.LinkTarget is null)
            return path;
        var target = info.ResolveLinkTarget(returnFinalTarget: true);
        if (target is null || !target.Exists)
            throw new VolumeException($"{path} is a broken link");
        return FullRealPath(target.FullName);
    }

    private static string FullRealPath(string path)
    {
        var result = "/";
        foreach (var part in path.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            var next = Path.Combine(result, part);
            var info = new DirectoryInfo(next);
            result = info.LinkTarget is { } target ? FullRealPath(Path.GetFullPath(target, result)) : next;
        }
        return result;
    }
}
