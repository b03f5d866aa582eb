using System.Globalization;

namespace OrleansCluster.Storage;

/// <summary>
/// Keeps a second process (and a second store in this one) out of a database file. Memory mirrors the file, so two writers would not see each
/// other. The operating system frees the lock when the process dies, however it dies.
/// </summary>
internal sealed class DatabaseLock : IDisposable
{
    private readonly FileStream _file;

    private DatabaseLock(FileStream file) => _file = file;

    public static DatabaseLock Acquire(string databasePath)
    {
        var path = databasePath + ".lock";
        try
        {
            // Sharing for reading lets the refused process learn who holds it; writing is exclusive.
            var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            file.SetLength(0);
            file.Write(System.Text.Encoding.ASCII.GetBytes(Environment.ProcessId.ToString(CultureInfo.InvariantCulture)));
            file.Flush();
            return new DatabaseLock(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StoreUnavailableException(
                $"The database '{databasePath}' is in use by another process, or '{path}' cannot be written ({e.Message}). "
                + "Stop the other process or choose another file.", e);
        }
    }

    public void Dispose() => _file.Dispose();
}
