using OrleansCluster.Kubelet.Network;

namespace OrleansCluster.Kubelet.Nodes;

/// <summary>Reads the node's own resolv.conf, which pods without cluster DNS get.</summary>
internal static class HostDns
{
    public static PodDns Read(string path)
    {
        List<string> nameservers = [], searches = [], options = [];
        if (File.Exists(path))
        {
            foreach (var line in File.ReadLines(path))
            {
                var words = line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
                if (words.Length < 2)
                    continue;
                switch (words[0])
                {
                    case "nameserver":
                        nameservers.Add(words[1]);
                        break;
                    case "search":
                        searches = [.. words.Skip(1)];
                        break;
                    case "options":
                        options.AddRange(words.Skip(1));
                        break;
                }
            }
        }
        return new PodDns(nameservers, searches, options);
    }
}
