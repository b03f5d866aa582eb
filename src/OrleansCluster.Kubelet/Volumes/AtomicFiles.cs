namespace OrleansCluster.Kubelet.Volumes;

/// <summary>A file of a volume.</summary>
internal readonly record struct VolumeFile(byte[] Contents, int Mode);

/// <summary>
/// A directory of files that changes in one step. The files live in a directory of their own; `..data` is a link to it, and each visible name a link
/// through `..data`. An update makes a new directory and moves the one link, so a reader sees all old files or all new ones:
/// <code>
///   ..2026_11_25_03_10_00.123/app.conf
///   ..data   -> ..2026_11_25_03_10_00.123
///   app.conf -> ..data/app.conf
/// </code>
/// </summary>
internal static class AtomicFiles
{
    private const string DataLink = "..data";

    /// <summary>Writes the files if they differ from what is there. Returns true if anything changed.</summary>
    /// <param name="directory">The volume's directory; made if absent.</param>
    /// <param name="files">Relative path to file.</param>
    /// <param name="group">Group of the files (`fsGroup`), or null.</param>
    /// <param name="time">The clock, for the directory's name.</param>
    /// <param name="cancellationToken">Stops between files.</param>
    public static async Task<bool> WriteAsync(
        string directory, IReadOnlyDictionary<string, VolumeFile> files, long? group, TimeProvider time, CancellationToken cancellationToken)
    {
        foreach (var path in files.Keys)
        {
            if (Path.IsPathRooted(path) || path.Split('/').Any(part => part is "" or "." or "..") || path.StartsWith("..", StringComparison.Ordinal))
                throw new VolumeException($"invalid path in volume: {path}");
        }

        Directory.CreateDirectory(directory);
        SetMode(directory, 0b111_101_101);
        var link = Path.Combine(directory, DataLink);
        var old = new DirectoryInfo(link).LinkTarget;
        if (old is not null && await IsSameAsync(Path.Combine(directory, old), files, cancellationToken))
            return false;

        var stamp = time.GetUtcNow().UtcDateTime.ToString("'..'yyyy_MM_dd_HH_mm_ss.fffffff", System.Globalization.CultureInfo.InvariantCulture);
        while (Directory.Exists(Path.Combine(directory, stamp)))
            stamp += "_";
        var fresh = Path.Combine(directory, stamp);
        Directory.CreateDirectory(fresh);
        SetMode(fresh, 0b111_101_101);
        foreach (var (path, file) in files)
        {
            var target = Path.Combine(fresh, path);
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            await File.WriteAllBytesAsync(target, file.Contents, cancellationToken);
            SetMode(target, group is null ? file.Mode : file.Mode | 0b100_100_000);
            if (group is { } gid)
                Native.ChangeGroup(target, gid);
        }

        var staged = link + "_tmp";
        File.Delete(staged);
        File.CreateSymbolicLink(staged, stamp);
        Native.Rename(staged, link);

        var visible = files.Keys.Select(path => path.Split('/')[0]).ToHashSet(StringComparer.Ordinal);
        foreach (var name in visible)
        {
            var path = Path.Combine(directory, name);
            if (new FileInfo(path).LinkTarget is null)
                File.CreateSymbolicLink(path, $"{DataLink}/{name}");
        }
        foreach (var entry in new DirectoryInfo(directory).EnumerateFileSystemInfos())
        {
            if (entry.Name == DataLink || entry.Name == stamp || visible.Contains(entry.Name))
                continue;
            if (entry is DirectoryInfo { LinkTarget: null } gone)
                gone.Delete(recursive: true);
            else
                File.Delete(entry.FullName);
        }
        return true;
    }

    /// <summary>Whether files were ever written there.</summary>
    public static bool Exist(string directory) => Directory.Exists(Path.Combine(directory, DataLink));

    private static async Task<bool> IsSameAsync(
        string data, IReadOnlyDictionary<string, VolumeFile> files, CancellationToken cancellationToken)
    {
        if (!Directory.Exists(data))
            return false;
        var present = Directory.GetFiles(data, "*", SearchOption.AllDirectories);
        if (present.Length != files.Count)
            return false;
        foreach (var (path, file) in files)
        {
            var target = Path.Combine(data, path);
            if (!File.Exists(target) || new FileInfo(target).Length != file.Contents.Length)
                return false;
            var contents = await File.ReadAllBytesAsync(target, cancellationToken);
            if (!contents.AsSpan().SequenceEqual(file.Contents))
                return false;
        }
        return true;
    }

    public static void SetMode(string path, int mode)
    {
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(path, (UnixFileMode)mode);
    }
}
