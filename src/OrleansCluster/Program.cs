Console.WriteLine("OrleansCluster");
